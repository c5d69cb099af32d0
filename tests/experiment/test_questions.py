"""Runs of splits that ask with histories: what is claimed can be recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from questions import START, loaded, opened, random_log

import recsys
from recsys.cli.show import split_line
from recsys.data.splitting import SplitRule, split
from recsys.data.types import HeldOut
from recsys.errors import InputError
from recsys.experiment.execution import data_of, execute
from recsys.experiment.experiment import from_tree
from recsys.experiment.reevaluation import reevaluate
from recsys.experiment.verification import verify
from recsys.report import methods
from recsys.report.shown_users import shown_users
from recsys.study.measurement import latency_ms
from recsys.study.train_valid import train_valid_of
from recsys.training.loop import fit
from recsys.training.settings import Train

RULES: dict[str, dict[str, Any]] = {
    "next item": {"by": "next-item", "k": 2},
    "all later": {"by": "global-time", "targets": "all-later", "valid_from": 0.6, "test_from": 0.8},
    "session": {"by": "session"},
    "new user": {"by": "new-user", "new_users": 0.5},
    "fold": {"by": "fold", "folds": 4, "valid_share": 0.2},
}


def tree(folder: Path, rule: dict[str, Any], **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = 1500
    user = rng.integers(0, 40, n)
    item = (user % 4) * 15 + (15 * rng.random(n) ** 2).astype(int)
    path = folder / "log.csv"
    pl.DataFrame({"user": user, "item": item, "time": START + np.arange(n) * 60}).write_csv(path)
    return {
        "data": {"path": str(path), "keep_log": True, "session_gap": 1800.0},
        "split": rule,
        "model": {"name": "ease"},
        "train": {"device": "cpu"},
        "evaluate": {"metrics": ["recall@10", "ndcg@10"], "monitor": "ndcg@10"},
        **more,
    }


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("refit", [False, True])
def test_a_run_can_be_verified(name: str, refit: bool, tmp_path: Path) -> None:
    experiment = from_tree(tree(tmp_path, RULES[name], refit=refit))
    run = execute(experiment, tmp_path / "run")
    assert all(check.holds for check in verify(run.folder))
    report = run.report("test")
    held = opened(data_of(experiment))
    assert report.n_users == len(np.unique(held.unit))
    assert held.rule in report.protocol
    other, _ = reevaluate(run.folder, ["metrics=['recall@10']"])
    assert other["recall@10"] == report["recall@10"]
    again = execute(experiment, tmp_path / "again")
    assert again.split.fingerprint == run.split.fingerprint
    assert again.fingerprint == run.fingerprint


@pytest.mark.parametrize("name", RULES)
def test_a_study_measures_the_queries_of_valid(name: str, tmp_path: Path) -> None:
    experiment = from_tree(tree(tmp_path, RULES[name]))
    material = train_valid_of(experiment)
    fitted = fit(experiment.model, material.train, material.valid, experiment.train)
    assert latency_ms(fitted.scorer, material) > 0


def test_a_rule_of_pairs_and_interactions_are_the_same_valid(tmp_path: Path) -> None:
    parts = split(loaded(random_log(0)), SplitRule())
    assert parts.valid is not None
    settings = Train(epochs=2, device="cpu")
    fitted = [
        fit(recsys.recipe("mf"), parts.train, valid, settings)
        for valid in (parts.valid, parts.valid.pairs)
    ]
    assert fitted[0].history[-1].valid == fitted[1].history[-1].valid


@pytest.mark.parametrize("name", ["new user"])
def test_a_method_of_known_users_is_refused_before_its_loss_selects(
    name: str, tmp_path: Path
) -> None:
    parts = split(loaded(random_log(0)), SplitRule(**RULES[name]))
    model = recsys.recipe("mf", loss={"kind": "bce"})
    with pytest.raises(InputError, match="cannot answer the queries of this split"):
        fit(model, parts.train, parts.valid, Train(epochs=1, device="cpu", select="loss"))


def test_the_loss_of_the_next_items_of_known_users_can_select() -> None:
    parts = split(loaded(random_log(0)), SplitRule(by="next-item"))
    model = recsys.recipe("mf", loss={"kind": "bce"})
    fitted = fit(model, parts.train, parts.valid, Train(epochs=2, device="cpu", select="loss"))
    assert all(entry.valid_loss is not None for entry in fitted.history)


def test_the_line_of_a_split_counts_queries() -> None:
    data = loaded(random_log(0))
    parts = split(data, SplitRule(by="next-item", k=2))
    assert parts.valid is not None
    assert parts.test is not None
    n_valid, n_test = len(parts.valid.queries), parts.test.n_queries
    assert f"{len(parts.test)} test, {n_valid} valid / {n_test} test queries" in split_line(parts)
    assert "queries" not in split_line(split(data, SplitRule()))
    assert parts.test.openings == []


def test_no_users_are_shown_where_sessions_are_asked(tmp_path: Path) -> None:
    experiment = from_tree(tree(tmp_path, RULES["session"]))
    parts = data_of(experiment)
    assert parts.test is not None
    assert not parts.test.by_user
    run = execute(experiment, tmp_path / "run", split=parts)
    shown = shown_users(methods.methods_of([run]), parts, 3, 4)
    assert shown == ()


def test_empty_is_none() -> None:
    parts = split(loaded(random_log(0)), SplitRule(by="global-time", test_from=0.8))
    assert parts.valid is None
    assert parts.refit() is parts
    assert isinstance(opened(parts), HeldOut)
