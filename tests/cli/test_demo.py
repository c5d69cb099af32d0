"""`make demo`: its methods are asked the same questions, and a sequence method is among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.cli import demo as module
from recsys.experiment import experiment as experiments

CONFIGS = Path(__file__).parents[2] / "configs" / "online-retail"


def test_all_methods_share_data_split_and_evaluation() -> None:
    assert "sasrec" in module.METHODS
    first, *others = (experiments.read(CONFIGS / f"{name}.toml") for name in module.METHODS)
    for other in others:
        assert other.data == first.data
        assert other.split == first.split
        assert other.evaluate == first.evaluate
    assert others[-1].refit == first.refit


def test_a_line_of_the_demo_is_the_sequence_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = experiments.read

    def short(path: Path, *rest: Any) -> Any:
        experiment = read(path, *rest)
        if path.stem != "sasrec":
            return experiment
        model = replace(experiment.model, dim=4, length=5)
        return replace(experiment, model=model, train=replace(experiment.train, epochs=1))

    monkeypatch.setattr(experiments, "read", short)
    monkeypatch.setattr(module, "METHODS", ("popular", "sasrec"))
    monkeypatch.setattr(module, "_new_products", lambda out: None)
    module.demo(tmp_path)
    printed = capsys.readouterr().out
    assert "sasrec     0." in printed
    assert "recommendations for all 4,335 customers" in printed
    assert "sasrec" in (tmp_path / "comparison.md").read_text(encoding="utf-8")
