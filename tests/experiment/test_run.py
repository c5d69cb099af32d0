"""The folder of a run: what it holds, that it needs no raw data, and that it can be checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.comparison.comparison import compare_runs
from recsys.config import to_dict
from recsys.errors import InputError
from recsys.experiment.execution import data_of, execute, open_run
from recsys.experiment.experiment import Experiment, from_tree, read
from recsys.experiment.reevaluation import reevaluate
from recsys.experiment.verification import verify
from recsys.models.contentknn import ContentKNN


def log(folder: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    taste = rng.integers(3, size=90)
    user = np.repeat(np.arange(90), 14)
    item = taste[user] * 20 + rng.integers(20, size=len(user))
    path = folder / "log.csv"
    pl.DataFrame(
        {
            "user": [f"u{u}" for u in user],
            "item": [f"i{i}" for i in item],
            "time": rng.integers(10**9, 10**9 + 10**6, size=len(user)),
        }
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
    assert run.meta.status == "finished"
    assert run.meta.environment.packages["torch"]
    assert len(run.history) == 4
    assert read(tmp_path / "run" / "config.toml") == run.experiment
    low, high = run.report("test").interval("ndcg@5")
    assert low <= run.report("test")["ndcg@5"] <= high


def test_a_run_needs_no_raw_data_to_recommend(tmp_path: Path) -> None:
    from recsys.api import recommend

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
    with pytest.raises(InputError, match="trained on the validation set"):
        reevaluate(tmp_path / "refitted", part="valid")


@pytest.mark.parametrize("refit", [False, True])
def test_verify_finds_what_was_changed(tmp_path: Path, refit: bool) -> None:
    log(tmp_path)
    execute(experiment(tmp_path, refit=refit), tmp_path / "run")
    assert all(check.holds for check in verify(tmp_path / "run"))
    per_user = tmp_path / "run" / "test" / "per_user.parquet"
    pl.read_parquet(per_user).with_columns(pl.col("ndcg@5") + 0.01).write_parquet(per_user)
    with pytest.raises(InputError, match="damaged"):
        verify(tmp_path / "run")


def test_verify_finds_another_scorer(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    execute(experiment(tmp_path, train={"seed": 9}), tmp_path / "other")
    (tmp_path / "run" / "scorer.safetensors").write_bytes(
        (tmp_path / "other" / "scorer.safetensors").read_bytes()
    )
    assert [check.claim for check in verify(tmp_path / "run") if not check.holds]


def test_verify_finds_other_data(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    log(tmp_path, seed=1)
    assert ("data and split", False) in [
        (check.claim, check.holds) for check in verify(tmp_path / "run")
    ]
    with pytest.raises(InputError, match="changed since"):
        reevaluate(tmp_path / "run")


def test_each_opening_of_the_test_set_is_on_record(tmp_path: Path) -> None:
    log(tmp_path)
    execute(experiment(tmp_path), tmp_path / "run")
    verify(tmp_path / "run")
    reevaluate(tmp_path / "run", ["metrics=['auc']"])
    reevaluate(tmp_path / "run", part="valid")
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "openings.jsonl").read_text().splitlines()
    ]
    assert [line["reason"].split(":")[0] for line in lines] == ["run", "verify", "evaluate"]


def test_training_never_opens_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys.data.types import Sealed
    from recsys.experiment import execution as runs

    log(tmp_path)
    order: list[str] = []
    opened, fitted = Sealed.open, runs.fit
    monkeypatch.setattr(
        Sealed, "open", lambda self, reason: (order.append("open"), opened(self, reason))[1]
    )
    monkeypatch.setattr(
        runs, "fit", lambda *args, **kwargs: (order.append("fit"), fitted(*args, **kwargs))[1]
    )
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


def test_a_run_that_calls_the_noise_flag_label_opens_resumes_and_verifies(tmp_path: Path) -> None:
    """`[data] clean` was called `label` in earlier versions, in files and in fingerprints."""
    frame = pl.read_csv(log(tmp_path))
    flags = np.random.default_rng(1).integers(2, size=frame.height)
    frame.with_columns(flag=flags).write_csv(tmp_path / "log.csv")
    columns = {"path": str(tmp_path / "log.csv"), "user": "user", "item": "item", "time": "time"}
    now = experiment(tmp_path, data={**columns, "clean": "flag"})
    run = execute(now, tmp_path / "run")
    deciding = json.loads(json.dumps(now.deciding))
    assert deciding["data"].pop("clean") == "flag"
    deciding["data"]["label"] = "flag"
    earlier = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
    assert run.meta.experiment == earlier
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace('clean = "flag"', 'label = "flag"'))
    assert 'label = "flag"' in config.read_text()
    assert open_run(tmp_path / "run").experiment == now
    execute(experiment(tmp_path, data={**columns, "label": "flag"}), tmp_path / "run", resume=True)
    assert all(check.holds for check in verify(tmp_path / "run"))
    assert "label" in pl.read_parquet(tmp_path / "run" / "seen.parquet").columns


def test_a_kept_log_changes_no_scorer_of_pairs(tmp_path: Path) -> None:
    log(tmp_path)
    plain = execute(experiment(tmp_path, refit=True), tmp_path / "plain")
    columns = {"path": str(tmp_path / "log.csv"), "user": "user", "item": "item", "time": "time"}
    kept = experiment(tmp_path, refit=True, data={**columns, "keep_log": True})
    run = execute(kept, tmp_path / "kept")
    assert run.fingerprint == plain.fingerprint
    assert run.pairs_fingerprint == plain.pairs_fingerprint
    assert "keep_log" not in plain.experiment.deciding["data"]  # earlier fingerprints hold
    assert open_run(tmp_path / "kept").experiment == kept
    assert all(check.holds for check in verify(tmp_path / "kept"))
    assert len(data_of(kept).train.log) > len(data_of(kept).train.pairs)


def test_a_split_without_valid_and_test_still_gives_a_scorer(tmp_path: Path) -> None:
    log(tmp_path)
    run = execute(experiment(tmp_path, split={"ratios": [1.0, 0.0, 0.0]}), tmp_path / "run")
    assert run.meta.best_epoch == 4
    assert not (tmp_path / "run" / "test").exists()


@pytest.mark.parametrize("name", ["popular", "itemknn", "ease"])
def test_closed_form_methods_make_the_same_artefact(tmp_path: Path, name: str) -> None:
    log(tmp_path)
    tree = experiment(tmp_path).to_tree() | {"model": {"name": name}}
    execute(from_tree(tree), tmp_path / "run")
    assert all(check.holds for check in verify(tmp_path / "run"))


def test_the_fingerprint_of_an_experiment_ignores_its_name_alone(tmp_path: Path) -> None:
    log(tmp_path)
    one = experiment(tmp_path)
    assert from_tree({**one.to_tree(), "name": "other"}).fingerprint == one.fingerprint
    assert experiment(tmp_path, model={"dim": 9}).fingerprint != one.fingerprint
    assert experiment(tmp_path, split={"seed": 4}).fingerprint != one.fingerprint


def features(folder: Path, seed: int) -> str:
    """A feature table of the items of the log, as text of a path."""
    rng, path = np.random.default_rng(seed), folder / "told.parquet"
    pl.DataFrame(
        {"item": [f"i{i}" for i in range(60)], "values": rng.normal(size=(60, 3)).tolist()}
    ).write_parquet(path)
    return str(path)


def test_features_are_part_of_the_data_of_a_run(tmp_path: Path) -> None:
    """Other numbers in a feature file are other data: to resume, to verify, for other metrics.

    Only the interactions decide which runs can be compared.
    """
    log(tmp_path)
    told = {"features": {"told": features(tmp_path, 0)}}
    run = execute(
        replace(experiment(tmp_path, data=told), model=ContentKNN(), name="told"), tmp_path / "told"
    )
    assert all(check.holds for check in verify(tmp_path / "told"))
    execute(experiment(tmp_path), tmp_path / "plain")
    compared = compare_runs([tmp_path / "told", tmp_path / "plain"])
    assert compared.notes[-1] == "The runs did not all have the same item features."
    assert "features" not in " ".join(compare_runs([tmp_path / "told"]).notes)
    assert run.pairs_fingerprint == open_run(tmp_path / "plain").split.fingerprint

    meta = json.loads((tmp_path / "told" / "run.json").read_text())
    (tmp_path / "told" / "run.json").write_text(json.dumps(meta | {"status": "running"}))
    features(tmp_path, 1)
    with pytest.raises(InputError, match="the data have changed since this run began"):
        execute(run.experiment, tmp_path / "told", resume=True)
    (tmp_path / "told" / "run.json").write_text(json.dumps(meta))
    assert (
        next(check.claim for check in verify(tmp_path / "told") if not check.holds)
        == "data and split"
    )
    with pytest.raises(InputError, match="the data have changed since this run"):
        reevaluate(tmp_path / "told")


def test_a_run_from_before_features_counted_is_still_of_its_data(tmp_path: Path) -> None:
    log(tmp_path)
    run = execute(
        replace(
            experiment(tmp_path, data={"features": {"told": features(tmp_path, 0)}}),
            model=ContentKNN(),
            name="told",
        ),
        tmp_path / "told",
    )
    meta = json.loads((tmp_path / "told" / "run.json").read_text())
    meta["split"]["fingerprint"] = meta["split"].pop("pairs")
    (tmp_path / "told" / "run.json").write_text(json.dumps(meta))
    assert all(check.holds for check in verify(tmp_path / "told"))
    assert open_run(tmp_path / "told").pairs_fingerprint == run.pairs_fingerprint
    execute(experiment(tmp_path), tmp_path / "plain")
    assert compare_runs([tmp_path / "told", tmp_path / "plain"]).notes == ()
    execute(run.experiment, tmp_path / "now")
    assert compare_runs([tmp_path / "told", tmp_path / "now"]).notes == (), (
        "what the older run had is not known"
    )
    assert compare_runs([tmp_path / "plain", tmp_path / "now"]).notes


@pytest.mark.parametrize("near", [True, False])
def test_a_run_with_titles_and_features_goes_on_elsewhere(
    near: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked up next to the interactions, then in the working folder, once."""
    home, work, elsewhere = (tmp_path / name for name in ("home", "work", "elsewhere"))
    for folder in (home, work, elsewhere):
        folder.mkdir()
    log(home)
    there = home if near else work
    features(there, 0)
    pl.DataFrame(
        {"item": [f"i{i}" for i in range(60)], "title": [f"thing {i}" for i in range(60)]}
    ).write_csv(there / "items.csv")
    toml = """[data]
path = "../home/log.csv"
titles = "items.csv"
features = { told = "told.parquet" }

[model]
name = "contentknn"
"""
    (work / "told.toml").write_text(toml)
    monkeypatch.chdir(work)
    made = read("told.toml")
    assert made.data.titles == str(there / "items.csv")
    assert made.data.features == {"told": str(there / "told.parquet")}
    run = execute(made, work / "run")
    monkeypatch.chdir(elsewhere)
    assert open_run(work / "run").experiment.fingerprint == run.meta.experiment
    assert all(check.holds for check in verify(work / "run"))
    again = data_of(read(work / "run" / "config.toml")).train
    assert again.titles is not None
    assert again.titles[again.items.ids.to_list().index("i0")] == "thing 0"
    assert list(again.features) == ["told"]


def test_paths_beside_the_interactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path)
    features(tmp_path, 0)
    (tmp_path / "baby").mkdir()

    def of(**data: Any) -> Any:
        return from_tree({"data": data, "model": {"name": "popular"}}).data

    assert of(path="log.csv", features="baby").features == str(tmp_path / "baby")
    assert of(path="log.csv", features="gone").features == "gone", (
        "what is not there is told when it is read"
    )
    assert of(path="log.csv", features={"a": "told.parquet", "b": "gone.npy"}).features == {
        "a": str(tmp_path / "told.parquet"),
        "b": "gone.npy",
    }
    assert of(source="online-retail", features={"a": "told.parquet"}).features == {
        "a": str(tmp_path / "told.parquet")
    }
    assert of(path=".", train="log.csv", titles="told.parquet").titles == str(
        tmp_path / "told.parquet"
    )
    once = of(path="log.csv", titles="told.parquet", features="baby")
    assert from_tree({"data": to_dict(once), "model": {"name": "popular"}}).data == once
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "told.parquet").write_bytes(b"")
    (tmp_path / "sub" / "log.csv").write_bytes(b"")
    assert of(path="sub/log.csv", titles="told.parquet").titles == str(
        tmp_path / "sub" / "told.parquet"
    ), "the folder of the interactions first"
