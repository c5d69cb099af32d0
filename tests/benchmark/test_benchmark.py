"""Benchmarks: checked as a whole, done once, resumed after a kill, with correct tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch
from planted import two_camps
from small_plan import tree, written

from recsys.benchmark import task as cells
from recsys.benchmark.cell import Chosen, cell_folder, write_chosen
from recsys.benchmark.dry_run import miniature, rehearse
from recsys.benchmark.plan import read_plan
from recsys.benchmark.running import benchmark, todo
from recsys.benchmark.status import board
from recsys.config import to_toml
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.experiment.execution import data_of, open_run
from recsys.models.popular import Popular
from recsys.study.tuning import open_study


@pytest.fixture(scope="module")
def done(log, tmp_path_factory) -> tuple[Path, Path]:
    """Return the plan and the folder of a finished benchmark."""
    folder = tmp_path_factory.mktemp("matrix")
    config = written(folder, tree(log))
    assert not benchmark(config, folder / "out").failed
    return config, folder / "out"


def test_the_tables_say_what_the_runs_say(done):
    config, out = done
    table = pl.read_csv(out / "table.csv")
    assert table.height == 2 * 2 * 3
    for data in ("one", "other"):
        runs = [open_run(cell_folder(out, data, "mf") / f"seed-{seed}") for seed in (1, 2)]
        row = table.filter(data=data, method="mf", metric="ndcg@5").to_dicts()[0]
        means = [run.report("test")["ndcg@5"] for run in runs]
        assert row["mean"] == pytest.approx(np.mean(means))
        assert row["seeds_sd"] == pytest.approx(np.std(means, ddof=1))
        assert row["trials"] == 2
        assert row["parameters"] == runs[0].meta.parameters
        assert runs[0].fingerprint != runs[1].fingerprint
    assert set(table.filter(metric="ndcg@5")["rank"]) == {1.0, 2.0}
    tests = pl.read_csv(out / "tests.csv")
    assert {"d_z", "rank_biserial", "cliff", "p_holm", "seed_share"} <= set(tests.columns)
    plain = json.loads((out / "results.json").read_text())
    assert plain["ranks"]["n"] == 2
    assert plain["data"]["one"]["costs"]["mf"]["settings"].keys() == {"train.lr"}
    text = (out / "table.md").read_text()
    assert "little power" in text
    assert "One run of ease" in text
    assert (out / "table.tex").read_text().count(r"\begin{tabular}") == 2
    assert "<svg" in (out / "cd.svg").read_text()
    assert board(read_plan(config), out) == [
        ["ease", *["done (seed has no effect)"] * 2],
        ["mf", *["done"] * 2],
    ]


def test_every_method_has_the_same_trials_and_its_own_settings_first(done):
    _, out = done
    for data in ("one", "other"):
        for method in ("ease", "mf"):
            study = open_study(cell_folder(out, data, method) / "study")
            assert study.trials[0].origin == "own"
            assert len(study.trials) == 2
            opened = (cell_folder(out, data, method) / "study").rglob("openings.jsonl")
            assert not list(opened)  # a study cannot read the test


def test_a_method_without_chance_is_run_twice_and_counted_once(done):
    _, out = done
    table = pl.read_csv(out / "table.csv").filter(method="ease")
    assert set(table["seeds"]) == {1}
    assert table["no_chance"].all()


def test_what_is_finished_is_not_done_again(done, monkeypatch):
    config, out = done
    before = {
        path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()
    }
    monkeypatch.setattr(cells, "execute", lambda *_, **__: pytest.fail("a run was done again"))
    monkeypatch.setattr(cells, "tune", lambda *_, **__: pytest.fail("a study was done again"))
    benchmark(config, out)
    assert {
        path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()
    } == before


def test_another_budget_or_other_settings_are_refused(done, log, tmp_path):
    _, out = done
    with pytest.raises(InputError, match="begun with trials = 2, and the plan has 3"):
        benchmark(written(tmp_path, tree(log, trials=3)), out)
    with pytest.raises(InputError, match="its test has been opened"):
        benchmark(written(tmp_path, tree(log, train={"epochs": 3, "batch_size": 128})), out)


def test_order_is_studies_then_seed_by_seed(log, tmp_path):
    plan = read_plan(written(tmp_path, tree(log, seeds=3)))
    out = tmp_path / "out"
    assert [task.seed for task in todo(plan, out, {})] == [0, 0, 0, 0]
    for data in plan.data:
        for method in plan.methods:
            place = cell_folder(out, data, method)
            place.mkdir(parents=True)
            write_chosen(place, Chosen(0, 0.0, {}, {}))
    assert [task.seed for task in todo(plan, out, {})] == [1] * 4
    run = {"closed": False, "scorer": "a", "epochs": 0, "train_seconds": 0.0, "seconds": 0.0}
    run |= {"parameters": 1, "users_per_second": 1.0, "kwh": None}
    (cell_folder(out, "one", "mf") / "seed-1.json").write_text(json.dumps(run))
    (cell_folder(out, "one", "ease") / "seed-1.json").write_text(json.dumps(run | {"closed": True}))
    found = [(task.method, task.seed) for task in todo(plan, out, {}) if task.data == "one"]
    assert found == [("ease", 2), ("mf", 2), ("mf", 3)]
    (cell_folder(out, "one", "ease") / "seed-2.json").write_text(json.dumps(run | {"closed": True}))
    assert ("ease", 3) not in [(task.method, task.seed) for task in todo(plan, out, {})]


def test_a_failing_cell_does_not_stop_the_others(log, tmp_path, monkeypatch):
    execute = cells.execute

    def fails(experiment: Any, folder: Path, **more: Any) -> Any:
        if experiment.method == "mf" and "other" in folder.parts:
            raise RuntimeError("planted")
        return execute(experiment, folder, **more)

    config = written(tmp_path, tree(log, trials=1))
    with monkeypatch.context() as patched:
        patched.setattr(cells, "execute", fails)
        result = benchmark(config, tmp_path / "out")
    assert list(result.failed) == [("other", "mf")]
    assert result.tables["one"].methods
    assert "failed: RuntimeError: planted" in str(board(read_plan(config), tmp_path / "out"))
    assert "planted" in (cell_folder(tmp_path / "out", "other", "mf") / "failed.txt").read_text()
    again = benchmark(config, tmp_path / "out")  # what failed is tried again
    assert not again.failed
    assert "mf" in again.tables["other"].methods


PLAIN = {"multvae": {"space": "none"}}
TOUCHED = {"rows": "touched", "optimizer": "adam"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 3}, "did you mean 'seeds'"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"methods": ["esae"]}, "unknown method 'esae'; did you mean 'ease'"),
        ({"methods": ["lrml", "mf"]}, "no space ships for 'lrml'"),
        ({"methods": ["ease"], "method": {}}, "at least two methods to compare"),
        ({"method": {"mf": {"train": {"epochs": 9}}}}, "'epochs' is part of the budget"),
        (
            {"method": {"mf": {"space": {"train.epochs": {"low": 1, "high": 9}}}}},
            "train.epochs is part of the budget",
        ),
        ({"method": {"mf": {"model": {"dims": 3}}}}, "mf on one: [model]"),
        ({"method": {"cml": {}}}, "'cml' is not among the methods"),
        ({"data": {}}, "names no data sets"),
        ({"data": {"a/b": {}}}, "'a/b' cannot name a data set"),
        ({"data": {"a": {"source": "x"}}}, "unknown section or key 'source'"),
        ({"evaluate": {"monitor": "ndgc@5"}}, "ndgc"),
        ({"tune": {"trials": 9}}, "'trials' is not a key of [tune]"),
        (
            {"methods": ["mf", "directau"], "train": TOUCHED},
            "directau on one: [train] rows: every row has a gradient at every step",
        ),
        (
            {"methods": ["mf", "heater"], "method": {"heater": {"space": "none"}}},
            "heater on one: [model]: the method needs item features, but the data have none",
        ),
        (
            {
                "methods": ["mf", "multvae"],
                "method": PLAIN | {"mf": {"model": {"loss": {"kind": "bce"}}}},
                "train": {"denoise": {"kind": "tce"}},
            },
            "multvae on one: [train] denoise: 'tce' judges pairs",
        ),
        (
            {"methods": ["mf", "multvae"], "method": PLAIN, "train": {"select": "loss"}},
            "multvae on one: [train] select: select = 'loss' looks at pairs",
        ),
        (
            {
                "methods": ["mf", "lightgcn"],
                "baselines": False,
                "train": {"denoise": {"kind": "tce"}},
            },
            "mf on one",
        ),
        (
            {"train": {"denoise": {"kind": "tce"}}},
            "ease on one: [train] denoise: 'tce' judges pairs by their losses",
        ),
        (
            {"train": {"device": "cuda:99"}},
            "ease on one: [train] device: device 'cuda:99' cannot be used",
        ),
    ],
)
def test_every_mistake_is_found_before_the_first_fit(log, tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        benchmark(written(tmp_path, tree(log, **changes)), tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


class Picky:
    """A method that wants many users, as a blend wants those of its runs."""

    def __init__(self, least: int) -> None:
        self.least, self.seen = least, []

    def build(self, train: Dataset) -> Any:
        self.seen.append(train.n_users)
        if train.n_users < self.least:
            raise InputError(f"{train.n_users} users are too few")
        return Popular().build(train)


def test_what_only_the_miniature_is_refused_for_is_no_mistake(log, tmp_path):
    plan = read_plan(written(tmp_path, tree(log)))
    experiment = plan.cells["one", "mf"]
    split = data_of(experiment)
    small = miniature(split.train)
    for least, builds in ((0, [24]), (60, [24, 60])):
        method: Any = Picky(least)
        rehearse(replace(experiment, model=method), split, small)
        assert method.seen == builds
    with pytest.raises(InputError, match="60 users are too few"):
        rehearse(replace(experiment, model=cast(Any, Picky(61))), split, small)
    state = torch.get_rng_state()
    rehearse(experiment, split, small)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_miniature_is_a_part_of_the_data():
    data = two_camps(users=90)[0]
    pairs = replace(data.pairs, time=np.arange(len(data.pairs)))
    small = miniature(
        replace(data, pairs=pairs, titles=pl.Series([f"t{i}" for i in data.items.ids]))
    )
    assert (small.n_users, len(small.users), small.n_items, len(small.items)) == (
        24,
        24,
        len(small.titles),
        len(small.titles),
    )
    assert np.bincount(small.pairs.user).max() <= 12
    rows, users = data.items.rows(small.items.ids), data.users.rows(small.users.ids)
    original = {
        (int(user), int(item)): int(when)
        for user, item, when in zip(pairs.user, pairs.item, pairs.time, strict=True)
    }
    for user, item, when in zip(small.pairs.user, small.pairs.item, small.pairs.time, strict=True):
        assert original[int(users[user]), int(rows[item])] == when
    for name, table in small.features.items():
        assert np.array_equal(table.values, data.features[name].values[rows])
        assert np.array_equal(table.present, data.features[name].present[rows])
    assert small.titles.to_list() == [f"t{i}" for i in small.items.ids]
    assert set(range(small.n_items)) - set(small.pairs.item.tolist()), (
        "there are negatives for everybody"
    )


@pytest.mark.parametrize("space", [{"train.lr": {"low": 1e-3, "high": 1e-1, "log": True}}, "none"])
def test_a_cell_that_failed_before_it_had_anything_is_begun_anew(log, tmp_path, monkeypatch, space):
    def config(**model: Any) -> Path:
        return written(
            tmp_path,
            tree(
                log,
                trials=1,
                seeds=1,
                data={"one": {"data": {"path": str(log)}}},
                method={"mf": {"model": model, "space": space}},
            ),
        )

    def fails(*_: Any, **__: Any) -> Any:
        raise InputError("planted")

    with monkeypatch.context() as patched:
        patched.setattr(cells, "tune" if space != "none" else "execute", fails)
        assert ("one", "mf") in benchmark(config(dim=4), tmp_path / "out").failed
    place = cell_folder(tmp_path / "out", "one", "mf")
    assert "dim = 4" in (place / "experiment.toml").read_text()
    result = benchmark(config(dim=5), tmp_path / "out")
    assert not result.failed
    assert "dim = 5" in (place / "experiment.toml").read_text()
    assert open_run(place / "seed-1").experiment.model.dim == 5
    assert not (place / "failed.json").exists()
    with pytest.raises(
        InputError,
        match=r"its test has been opened: model\.dim was 5, and is 6 now",
    ):
        benchmark(config(dim=6), tmp_path / "out")


def test_a_cell_that_was_searched_is_not(log, tmp_path, monkeypatch):
    def fails(*_: Any, **__: Any) -> Any:
        raise InputError("planted")

    one = {"one": {"data": {"path": str(log)}}}
    with monkeypatch.context() as patched:
        patched.setattr(cells, "execute", fails)
        benchmark(written(tmp_path, tree(log, trials=1, seeds=1, data=one)), tmp_path / "out")
    changed = {"mf": {"model": {"dim": 5}, "space": tree(log)["method"]["mf"]["space"]}}
    with pytest.raises(
        InputError,
        match=r"begun with other settings: model.dim was \d+, and is 5 now; set them back",
    ):
        benchmark(
            written(tmp_path, tree(log, trials=1, seeds=1, data=one, method=changed)),
            tmp_path / "out",
        )


def test_data_without_a_test_are_refused(log, tmp_path):
    config = written(tmp_path, tree(log, split={"ratios": [0.9, 0.1, 0.0]}))
    with pytest.raises(InputError, match="no test"):
        benchmark(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_data_set_and_a_method_may_stand_in_files_of_their_own(log, tmp_path):
    (tmp_path / "base.toml").write_text(to_toml({"data": {"path": str(log)}, "split": {"seed": 5}}))
    method = {
        "model": {"name": "mf", "dim": 3},
        "train": {"lr": 0.01, "epochs": 900},
        "data": {"source": "online-retail"},
    }
    (tmp_path / "mine.toml").write_text(to_toml(method))
    plan = read_plan(
        written(
            tmp_path,
            tree(
                log,
                data={"a": "base.toml"},
                methods=["mine.toml", "ease"],
                method={},
                baselines=True,
            ),
        )
    )
    assert plan.methods == ("popular", "itemknn", "ease", "mine")
    mine = plan.cells["a", "mine"]
    assert (mine.split.seed, mine.train.lr, mine.train.epochs, mine.model.dim) == (5, 0.01, 2, 3)
    assert mine.tune.trials == 2
    assert plan.cells["a", "popular"].tune is None


@pytest.mark.parametrize("name", ["benchmark-small", "benchmark-public"])
def test_the_matrices_that_ship_are_valid(name):
    plan = read_plan(Path(__file__).parents[2] / "configs" / f"{name}.toml")
    assert len(plan.methods) >= 10
    assert (len(plan.data), plan.settings.seeds) == (3, 3)
    assert {
        (cell.train.epochs, cell.train.patience, cell.train.eval_every)
        for cell in plan.cells.values()
    } == {(15, 2, 5)}
    assert {cell.tune.trials for cell in plan.cells.values() if cell.tune is not None} == {
        plan.settings.trials
    }


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on(log, tmp_path, done):
    """All processes are killed repeatedly; the tables are those of a benchmark left alone."""
    config, whole = done
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "recsys.cli",
        "benchmark",
        str(config),
        "--out",
        str(out),
        "--workers",
        "2",
        "-q",
    ]
    for seconds in (6.0, 9.0, 12.0, 15.0):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)  # its workers end by themselves
            process.wait()
            time.sleep(0.5)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    kept = [
        "data",
        "method",
        "metric",
        "mean",
        "low",
        "high",
        "users",
        "seeds",
        "seeds_sd",
        "rank",
        "trials",
    ]
    assert (
        pl.read_csv(out / "table.csv")
        .select(kept)
        .equals(pl.read_csv(whole / "table.csv").select(kept))
    )
