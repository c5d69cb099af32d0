"""The run artefact: what it holds, that it can be used without the raw data, and that it can be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.errors import InputError
from recsys.experiment import Experiment, from_tree, read
from recsys.run import data_of, execute, open_run
from recsys.verification import evaluate_again, verify


def log(folder: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    taste = rng.integers(3, size=90)
    user = np.repeat(np.arange(90), 14)
    item = taste[user] * 20 + rng.integers(20, size=len(user))
    path = folder / "log.csv"
    pl.DataFrame(
        {"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item], "time": rng.integers(10**9, 10**9 + 10**6, size=len(user))}
    ).write_csv(path)
    return path


def experiment(folder: Path, **changes: Any) -> Experiment:
    tree: dict[str, Any] = {
        "data": {"path": str(folder / "log.csv"), "user": "user", "item": "item", "time": "time"},
        "split": {"by": "ratio", "seed": 3},
        "model": {"name": "mf", "dim": 8},
        "train": {"epochs": 4, "batch_size": 64, "lr": 0.02, "rows": "touched", "device": "cpu"},
        "evaluate": {"metrics": ["recall@5", "ndcg@5", "coverage@5"], "monitor": "ndcg@5"},
    }
    for section, values in changes.items():
        tree[section] = {**tree[section], **values} if isinstance(values, dict) else values
    return from_tree(tree)


def test_a_run_holds_all_it_takes_to_use_and_check_it(tmp_path: Path) -> None:
    log(tmp_path)
    run = execute(experiment(tmp_path), tmp_path / "run")
    for name in (
        "config.toml",
        "run.json",
        "scorer.safetensors",
        "users.parquet",
        "items.parquet",
        "seen.parquet",
        "openings.jsonl",
        "fit/history.jsonl",
        "fit/checkpoint.safetensors",
        "valid/report.json",
        "valid/per_user.parquet",
        "test/report.json",
        "test/per_user.parquet",
    ):
        assert (tmp_path / "run" / name).is_file(), name
    assert run.meta["status"] == "finished"
    assert run.meta["environment"]["packages"]["torch"]
    assert len(run.history) == 4
    assert read(tmp_path / "run" / "config.toml") == run.experiment
    low, high = run.report("test").interval("ndcg@5")
    assert low <= run.report("test")["ndcg@5"] <= high


def test_a_run_needs_no_raw_data_to_recommend(tmp_path: Path) -> None:
    from recsys.recommendation import recommend

    raw = log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    raw.unlink()
    run = open_run(tmp_path / "run")
    lists = recommend(run.scorer, run.train, ["u3"], 5)
    assert lists["user"].to_list() == ["u3"] * 5
    assert lists["item"].str.starts_with("i").all()


def test_refit_learns_from_train_and_valid(tmp_path: Path) -> None:
    log(tmp_path)
    plain = execute(experiment(tmp_path), tmp_path / "plain")
    refitted = execute(experiment(tmp_path, refit=True), tmp_path / "refitted")
    split = data_of(plain.experiment)
    assert split.valid is not None
    assert len(plain.train.pairs) == len(split.train.pairs)
    assert len(refitted.train.pairs) == len(split.train.pairs) + len(split.valid)
    assert refitted.report("valid")["ndcg@5"] == plain.report("valid")["ndcg@5"]
    with pytest.raises(InputError, match="learned from the validation pairs"):
        evaluate_again(tmp_path / "refitted", part="valid")


@pytest.mark.parametrize("refit", [False, True])
def test_verify_finds_what_was_changed(tmp_path: Path, refit: bool) -> None:
    log(tmp_path)
    execute(experiment(tmp_path, refit=refit), tmp_path / "run")
    assert all(holds for _, holds, _ in verify(tmp_path / "run"))
    per_user = tmp_path / "run" / "test" / "per_user.parquet"
    pl.read_parquet(per_user).with_columns(pl.col("ndcg@5") + 0.01).write_parquet(per_user)
    with pytest.raises(InputError, match="damaged"):
        verify(tmp_path / "run")


def test_verify_finds_another_scorer(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    execute(experiment(tmp_path, train={"seed": 9}), tmp_path / "other")
    (tmp_path / "run" / "scorer.safetensors").write_bytes((tmp_path / "other" / "scorer.safetensors").read_bytes())
    assert [what for what, holds, _ in verify(tmp_path / "run") if not holds]


def test_verify_finds_other_data(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    log(tmp_path, seed=1)
    assert ("data and split", False) in [(what, holds) for what, holds, _ in verify(tmp_path / "run")]
    with pytest.raises(InputError, match="changed since"):
        evaluate_again(tmp_path / "run")


def test_each_opening_of_the_test_set_is_on_record(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    verify(tmp_path / "run")
    evaluate_again(tmp_path / "run", ["metrics=['auc']"])
    evaluate_again(tmp_path / "run", part="valid")
    lines = [json.loads(line) for line in (tmp_path / "run" / "openings.jsonl").read_text().splitlines()]
    assert [line["reason"].split(":")[0] for line in lines] == ["run", "verify", "evaluate"]


def test_training_never_opens_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys import run as runs
    from recsys.data.types import Sealed

    log(tmp_path)
    order: list[str] = []
    opened, fitted = Sealed.open, runs.fit
    monkeypatch.setattr(Sealed, "open", lambda self, reason: (order.append("open"), opened(self, reason))[1])
    monkeypatch.setattr(runs, "fit", lambda *args, **kwargs: (order.append("fit"), fitted(*args, **kwargs))[1])
    execute(experiment(tmp_path, refit=True), tmp_path / "run")
    assert order == ["fit", "fit", "open"]


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    before = (tmp_path / "run" / "run.json").stat().st_mtime_ns
    execute(experiment(tmp_path), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="not empty"):
        execute(experiment(tmp_path), tmp_path / "run")


def test_a_split_without_valid_and_test_still_gives_a_scorer(tmp_path: Path) -> None:
    log(tmp_path)
    run = execute(experiment(tmp_path, split={"ratios": [1.0, 0.0, 0.0]}), tmp_path / "run")
    assert run.meta["best_epoch"] == 4
    assert not (tmp_path / "run" / "test").exists()


@pytest.mark.parametrize("name", ["popular", "itemknn", "ease"])
def test_closed_form_methods_make_the_same_artefact(tmp_path: Path, name: str) -> None:
    log(tmp_path)
    tree = experiment(tmp_path).to_tree() | {"model": {"name": name}}
    execute(from_tree(tree), tmp_path / "run")
    assert all(holds for _, holds, _ in verify(tmp_path / "run"))


def test_the_fingerprint_of_an_experiment_ignores_its_name_alone(tmp_path: Path) -> None:
    log(tmp_path)
    one = experiment(tmp_path)
    assert from_tree({**one.to_tree(), "name": "other"}).fingerprint == one.fingerprint
    assert experiment(tmp_path, model={"dim": 9}).fingerprint != one.fingerprint
    assert experiment(tmp_path, split={"seed": 4}).fingerprint != one.fingerprint
