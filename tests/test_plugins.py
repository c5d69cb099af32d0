"""Extensions of other packages: found by entry points, used by name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys import plugins
from recsys.errors import InputError
from recsys.nn.losses import Loss, pair_loss


def logistic(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    """The loss of a fictitious package: log2(1 + exp(weight (s- - s+)))."""
    return torch.nn.functional.softplus(loss.weight * (neg - pos[:, None])) / torch.log(
        torch.tensor(2.0)
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that a package with two losses is installed, of which one cannot be imported."""
    points = {
        "recsys.losses": (
            importlib.metadata.EntryPoint("log2", f"{__name__}:logistic", "recsys.losses"),
            importlib.metadata.EntryPoint("broken", "no_such_package:loss", "recsys.losses"),
        )
    }
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, ()))
    plugins._points.cache_clear()
    plugins.load.cache_clear()
    yield
    plugins._points.cache_clear()
    plugins.load.cache_clear()


def test_a_loss_of_another_package_has_a_name_in_settings(installed: None) -> None:
    assert plugins.names("losses") == ["broken", "log2"]
    assert plugins.names("metrics") == []
    pos, neg = torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 3.0], [0.0, -1.0]])
    expected = torch.log2(1 + torch.exp(0.5 * (neg - pos[:, None])))
    each = pair_loss(Loss(kind="log2", weight=0.5), pos, neg, n_items=9)
    torch.testing.assert_close(each, expected.mean(1))
    hardest = pair_loss(Loss(kind="log2", weight=0.5, reduce="hardest"), pos, neg, n_items=9)
    torch.testing.assert_close(hardest, expected.max(1).values)
    assert "weight" not in Loss(kind="log2").idle()
    assert "rho" in Loss(kind="log2").idle()


def test_an_unknown_loss_is_refused_with_the_names_that_exist(installed: None) -> None:
    with pytest.raises(InputError, match=r"'log2'.*got 'log'"):
        Loss(kind="log")


def test_a_package_that_cannot_be_imported_is_named(installed: None) -> None:
    loss = Loss(kind="broken")
    with pytest.raises(InputError, match="no_such_package"):
        pair_loss(loss, torch.zeros(1), torch.zeros(1, 2), n_items=9)


def test_without_packages_nothing_is_added() -> None:
    assert plugins.module_of("losses", "log2") is None
    with pytest.raises(InputError, match=r"recsys\.losses"):
        plugins.load("losses", "log2")


GUIDE = Path(__file__).parents[1] / "docs" / "plugins.md"


def example(heading: str) -> dict[str, Any]:
    """Return the names that the Python example below a heading of the guide defines."""
    section = GUIDE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    names: dict[str, Any] = {}
    exec(section.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - the code of our own page
    return names


def test_the_loss_of_the_guide_runs() -> None:
    pos, neg = torch.tensor([1.0, 0.0]), torch.tensor([[0.5, 2.0], [-3.0, 0.0]])
    each = example("A loss")["absolute"](Loss(margin=0.5), pos, neg)
    torch.testing.assert_close(each, torch.tensor([[0.0, 1.5], [0.0, 0.5]]).sqrt())


def test_the_metric_of_the_guide_runs() -> None:
    first = example("A metric")["FIRST"]
    hits = np.array([[True, False], [False, True], [False, False]])
    context = SimpleNamespace(hits=hits, n_relevant=np.array([1, 1, 0]))
    np.testing.assert_array_equal(first.compute(context), [1.0, 0.0, np.nan])


def test_the_reader_of_the_guide_runs(tmp_path: Path) -> None:
    (tmp_path / "log.clicks").write_text("u1>i7@3\nu2>i7@4\n")
    raw = example("A reader")["read"](tmp_path / "log.clicks", None)
    assert raw.frame.rows() == [("u1", "i7", "3"), ("u2", "i7", "4")]


def test_the_splitter_of_the_guide_runs() -> None:
    day = 86_400
    data = SimpleNamespace(pairs=SimpleNamespace(time=np.array([0, 8, 15, 20]) * day))
    np.testing.assert_array_equal(example("A splitter")["weekly"](data, 0), [0, 1, 2, 2])
