"""Studies: own settings first, reproducible proposals, trials without the test, usable results."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest

from recsys.data.types import Sealed
from recsys.errors import InputError, TrainingError
from recsys.experiment.execution import data_of, execute
from recsys.experiment.experiment import Experiment, from_tree, read
from recsys.study import trial as trials
from recsys.study import tuning as studies
from recsys.study.meta import BestTrial
from recsys.study.progress import DataLoaded, Note, TrialBegun, TrialDone
from recsys.study.tuning import Study, open_study, tune

PACKAGE = Path(__file__).parents[2] / "recsys" / "study"


def write_log(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    taste = rng.integers(3, size=90)
    user = np.repeat(np.arange(90), 14)
    item = taste[user] * 20 + rng.integers(20, size=len(user))
    path = folder / "log.csv"
    pl.DataFrame({"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item]}).write_csv(path)
    return path


SPACE: dict[str, Any] = {
    "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dim": {"low": 4, "high": 16, "step": 4},
    "model.loss": {"choices": [{"kind": "bpr"}, {"kind": "softmax"}]},
    "train.clip": {"choices": ["none", 1.0]},
}


def tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """An experiment whose trials take a few milliseconds."""
    if not (folder / "log.csv").exists():
        write_log(folder)
    made: dict[str, Any] = {
        "name": "small",
        "data": {"path": str(folder / "log.csv"), "user": "user", "item": "item"},
        "model": {"name": "mf", "dim": 8, "sampler": {"negatives": 2}},
        "train": {"epochs": 3, "batch_size": 256, "lr": 0.02, "device": "cpu"},
        "evaluate": {"metrics": ["recall@5", "ndcg@5", "coverage@5"], "monitor": "ndcg@5"},
        "tune": {"trials": 6, "startup": 3, "space": SPACE},
    }
    for section, values in changes.items():
        made[section] = {**made[section], **values} if isinstance(values, dict) else values
    return made


def small(folder: Path, **changes: Any) -> Experiment:
    return from_tree(tree(folder, **changes))


def essence(study: Study) -> list[tuple[Any, ...]]:
    """Trials without times."""
    return [
        (
            t.number,
            t.state,
            t.values,
            json.dumps(t.settings),
            t.origin,
            dict(t.curve),
            t.facts.best_epoch,
            t.reason,
        )
        for t in study.trials
    ]


def files(folder: Path) -> dict[str, Any]:
    """What a study leaves, without times and without what differs from study to study."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name in ("study.journal", "study.json") or name.endswith(".lock"):
            continue
        if path.name == "history.jsonl":
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [
                {key: value for key, value in entry.items() if "second" not in key}
                for entry in entries
            ]
        elif path.suffix == ".parquet":
            found[name] = pl.read_parquet(path).drop("seconds").to_dicts()
        else:
            found[name] = path.read_bytes()
    return found


def test_a_study_finds_and_leaves_what_it_takes_to_go_on(tmp_path: Path) -> None:
    events: list[Any] = []
    study = tune(small(tmp_path), tmp_path / "study", watch=events.append)
    assert [trial.number for trial in study.trials] == list(range(6))
    assert {trial.state for trial in study.trials} == {"complete"}
    assert study.meta.status == "finished"
    best = study.best
    assert best is not None
    assert best.values[0] == max(trial.values[0] for trial in study.trials)
    begun = [event for event in events if isinstance(event, TrialBegun)]
    done = [event for event in events if isinstance(event, TrialDone)]
    assert [event.number for event in done] == list(range(6))
    assert [event.settings for event in begun] == [trial.settings for trial in study.trials]
    assert [event.values["ndcg@5"] for event in done] == [t.values[0] for t in study.trials]
    assert events[-1].best == BestTrial(number=best.number, values=best.values)
    assert events[-1].used.trials == 6
    assert [event for event in events if isinstance(event, DataLoaded)] == [
        DataLoaded(90, 60, 740, 90, "ratio 0.8/0.1/0.1 per user, random with seed 0")
    ]
    frame = pl.read_parquet(tmp_path / "study" / "trials.parquet")
    assert frame.drop("seconds").equals(study.table().drop("seconds"))
    assert frame["train.lr"].to_list() == [trial.settings["train.lr"] for trial in study.trials]
    for trial in study.trials:
        folder = tmp_path / "study" / "trials" / f"{trial.number:04d}"
        assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
            "config.toml",
            "history.jsonl",
        ]
        assert read(folder / "config.toml").train.lr == trial.settings["train.lr"]
    used = study.used()
    assert used.trials == 6
    assert used.device_seconds == pytest.approx(
        sum(trial.seconds for trial in study.trials), abs=1e-3
    )
    assert used.seconds >= used.device_seconds > 0
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert record["used"] == {
        "trials": 6,
        "seconds": used.seconds,
        "device_seconds": used.device_seconds,
    }


def test_the_first_trial_is_the_experiment_as_it_stands(tmp_path: Path) -> None:
    study = tune(small(tmp_path, tune={"trials": 1}), tmp_path / "study")
    first = study.trials[0]
    assert first.origin == "own"
    assert first.settings == {
        "train.lr": 0.02,
        "model.dim": 8,
        "model.loss": {"kind": "bpr"},
        "train.clip": "none",
    }
    run = execute(small(tmp_path), tmp_path / "run")
    assert first.values[0] == run.report("valid")["ndcg@5"]


def test_own_settings_outside_of_the_space_come_first_all_the_same(tmp_path: Path) -> None:
    study = tune(
        small(tmp_path, train={"lr": 0.5, "clip": 3.0}, tune={"trials": 5}), tmp_path / "study"
    )
    assert study.trials[0].settings["train.lr"] == 0.5
    assert study.trials[0].settings["train.clip"] == 3.0
    assert read(tmp_path / "study" / "trials" / "0000" / "config.toml").train.lr == 0.5
    assert all(trial.settings["train.lr"] <= 0.1 for trial in study.trials[1:])
    assert "train.lr" not in study.optuna.trials[0].params


def test_best_toml_runs_and_gives_the_value_of_the_study(tmp_path: Path) -> None:
    study = tune(small(tmp_path), tmp_path / "study")
    experiment = read(tmp_path / "study" / "best.toml")
    assert experiment.tune is None
    assert experiment == study.best_experiment()
    run = execute(experiment, tmp_path / "run")
    assert study.best is not None
    assert run.report("valid")["ndcg@5"] == study.best.values[0]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma", "random", "grid"])
def test_the_same_seed_tries_the_same_and_another_does_not(tmp_path: Path, sampler: str) -> None:
    space = {path: SPACE[path] for path in ("train.lr", "model.dim")} if sampler == "cma" else SPACE
    if sampler == "grid":
        space = {path: SPACE[path] for path in ("model.dim", "model.loss", "train.clip")}
    if sampler == "cma":
        pytest.importorskip("cmaes")
    change = {"sampler": sampler, "space": space, "trials": 8, "startup": 3}
    one = tune(small(tmp_path, tune=change), tmp_path / "one")
    two = tune(small(tmp_path, tune=change), tmp_path / "two")
    other = tune(small(tmp_path, tune={**change, "seed": 1}), tmp_path / "other")
    assert essence(one) == essence(two)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert essence(one)[0] == essence(other)[0]
    assert [t.settings for t in one.trials[1:]] != [t.settings for t in other.trials[1:]]
    assert len({json.dumps(t.settings) for t in one.trials}) >= 7
    assert all(
        dimension.holds(t.settings[dimension.path])
        for t in one.trials
        for dimension in one.experiment.dimensions
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_grid_is_tried_whole_and_ends(tmp_path: Path, seed: int) -> None:
    """Each point once, the experiment's own first."""
    space = {
        "model.dim": {"low": 4, "high": 12, "step": 4},
        "train.lr": {"low": 0.01, "high": 0.02, "step": 0.005},
    }
    study = tune(
        small(tmp_path, tune={"sampler": "grid", "space": space, "trials": 50, "seed": seed}),
        tmp_path / "study",
    )
    tried = [(trial.settings["model.dim"], trial.settings["train.lr"]) for trial in study.trials]
    assert tried[0] == (8, 0.02)
    assert sorted(tried) == [(dim, lr) for dim in (4, 8, 12) for lr in (0.01, 0.015, 0.02)]
    assert tried != sorted(tried)


def test_a_grid_whose_points_were_all_queued_ends_with_them(tmp_path: Path) -> None:
    space = {"model.loss": {"choices": [{"kind": "bpr"}]}, "model.dim": {"choices": [8]}}
    assert [
        trial.origin
        for trial in tune(
            small(tmp_path, tune={"sampler": "grid", "space": space}), tmp_path / "one"
        ).trials
    ] == ["own"]
    outside = small(tmp_path, model={"dim": 7}, tune={"sampler": "grid", "space": space})
    assert [
        trial.settings["model.dim"] for trial in tune(outside, tmp_path / "outside").trials
    ] == [7, 8]


def _paraboloid(monkeypatch: pytest.MonkeyPatch) -> Callable[..., trials.Outcome]:
    """Trials without training: the nearer to lr 0.01 and dim 40, the better."""

    def run_trial(experiment: Experiment, *_: Any, **__: Any) -> trials.Outcome:
        value = (
            -((np.log10(experiment.train.lr) + 2) ** 2) - ((experiment.model.dim - 40) / 30) ** 2
        )  # type: ignore[attr-defined]
        return trials.Outcome("complete", (float(value),))

    monkeypatch.setattr("recsys.study.worker.run_trial", run_trial)
    return run_trial


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow), "cma"])
def test_samplers_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """They end nearer to the optimum than as many draws at random, in the mean over seeds."""
    if sampler == "cma":
        pytest.importorskip("cmaes")
    _paraboloid(monkeypatch)
    split = data_of(small(tmp_path))
    space = {
        "train.lr": {"low": 1e-6, "high": 1.0, "log": True},
        "model.dim": {"low": 1, "high": 200},
    }

    def late(name: str, seed: int) -> float:
        change = {"sampler": name, "space": space, "trials": 31, "startup": 6, "seed": seed}
        study = tune(
            small(tmp_path, train={"lr": 0.9}, tune=change), tmp_path / f"{name}{seed}", split=split
        )
        return float(np.mean([trial.values[0] for trial in study.trials[-10:]]))

    learned, drawn = ([late(name, seed) for seed in range(3)] for name in (sampler, "random"))
    assert np.mean(learned) > np.mean(drawn) / 2


# The test set.


def test_no_path_of_tuning_opens_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(self: Sealed, reason: str) -> None:
        raise AssertionError(f"the test set was opened: {reason}")

    monkeypatch.setattr(Sealed, "open", opened)
    experiment = small(
        tmp_path,
        tune={
            "objectives": ["ndcg@5", "latency", "coverage@5"],
            "limits": {"memory_mb": 1e6, "latency_ms": 1e6},
        },
    )
    split = data_of(experiment)
    assert split.test is not None
    with pytest.raises(AssertionError, match="was opened"):
        split.test.open("to see that it would be noticed")
    study = tune(experiment, tmp_path / "study", split=split)
    study = tune(None, tmp_path / "study", resume=True, budget={"trials": 8})
    assert len(study.trials) == 8
    assert study.table().height == 8
    assert study.importance()
    assert study.best_experiment() is not None
    tune(small(tmp_path, tune={"pruner": "median", "trials": 8}), tmp_path / "pruned")
    warm = {"warm": [str(tmp_path / "study")], "trials": 3}
    tune(small(tmp_path, tune=warm), tmp_path / "warm")
    ease = {"name": "ease"}
    made = tree(tmp_path)
    tune(
        from_tree(
            {
                **made,
                "model": ease,
                "tune": {"trials": 3, "space": {"model.l2": {"low": 1.0, "high": 9.0}}},
            }
        ),
        tmp_path / "ease",
    )


def test_a_trial_is_given_nothing_that_could_open_the_test() -> None:
    assert set(trials.TrainValid.__dataclass_fields__) == {
        "train",
        "valid",
        "fingerprint",
        "items_fingerprint",
        "rule",
        "pairs_fingerprint",
    }


FORBIDDEN = {
    "test",
    "open",
    "_content",
    "open_test",
    "execute",
    "refit",
    "reevaluate",
    "verify",
    "report",
    "Sealed",
}


def reaches(source: str) -> list[str]:
    """Names in a source through which a test set could be had."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", None) or getattr(node, "id", None)
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import | ast.ImportFrom)
            else [name]
        )
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            names += [
                argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant)
            ]
        found += [str(name) for name in names if name in FORBIDDEN]
    return found


def test_the_source_of_tuning_has_no_way_to_the_test_set() -> None:
    allowed = {"storage.py": ["open"] * 2}  # Path.open of the journal
    sources = sorted(PACKAGE.glob("*.py"))
    assert len(sources) > 5
    for path in sources:
        assert reaches(path.read_text()) == allowed.get(path.name, []), path.name


@pytest.mark.parametrize(
    "source",
    [
        "split.test.open('x')",
        "from recsys.experiment.execution import open_test",
        "execute(e, f)",
        "split.refit()",
        "getattr(split, 'test')",
        "sealed._content",
        "run.report()",
    ],
)
def test_a_way_to_the_test_set_would_be_found(source: str) -> None:
    assert reaches(source)


def test_a_split_without_valid_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="selects on valid"):
        tune(
            from_tree({**tree(tmp_path), "split": {"by": "ratio", "ratios": [0.8, 0.0, 0.2]}}),
            tmp_path / "study",
        )
    assert not (tmp_path / "study").exists()


# Failures, limits, pruning.


def test_a_trial_that_diverges_is_recorded_and_counts(tmp_path: Path) -> None:
    space = {"train.lr": {"choices": [0.02, 1e30]}, "train.optimizer": {"choices": ["sgd", "adam"]}}
    study = tune(
        small(tmp_path, tune={"sampler": "grid", "space": space, "trials": 4}), tmp_path / "study"
    )
    failed = [trial for trial in study.trials if trial.state == "failed"]
    assert failed
    assert all(trial.settings["train.lr"] == 1e30 for trial in failed)
    assert all("lower train.lr" in trial.reason for trial in failed)
    assert study.used().trials == 4
    assert study.best is not None
    assert study.best.state == "complete"
    assert set(study.table().filter(pl.col("state") == "failed")["reason"]) == {
        trial.reason for trial in failed
    }


def test_memory_that_runs_out_is_the_failure_of_a_trial(tmp_path: Path) -> None:
    space = {"model.dim": {"choices": [8, 1_000_000_000_000]}}
    study = tune(
        small(tmp_path, tune={"sampler": "grid", "space": space, "trials": 5}), tmp_path / "study"
    )
    assert {trial.settings["model.dim"]: trial.reason for trial in study.trials} == {
        8: "",
        1_000_000_000_000: "out of memory",
    }


def test_any_other_mistake_stops_the_study_and_its_trial_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(small(tmp_path), tmp_path / "whole")
    fit, calls = trials.fit, iter(range(100))

    def full(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 3:
            raise InputError("cannot be written: the disk is full", place="somewhere")
        return fit(*args, **kwargs)

    monkeypatch.setattr(trials, "fit", full)
    with pytest.raises(InputError, match="disk is full"):
        tune(small(tmp_path), tmp_path / "study")
    stopped = open_study(tmp_path / "study")
    assert [trial.state for trial in stopped.trials] == ["complete"] * 3 + ["running"]
    assert essence(tune(None, tmp_path / "study", resume=True)) == essence(whole)


def test_a_study_that_stops_in_its_first_trial_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise InputError("no")

    monkeypatch.setattr(trials, "fit", refuse)
    with pytest.raises(InputError):
        tune(small(tmp_path), tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("kind", ["median", "hyperband", "wilcoxon"])
def test_pruners_end_bad_trials_early(tmp_path: Path, kind: str) -> None:
    change = {
        "pruner": kind,
        "trials": 20,
        "sampler": "random",
        "space": {"train.lr": {"low": 1e-6, "high": 1e-1, "log": True}},
    }
    study = tune(
        small(tmp_path, train={"epochs": 9, "patience": "none"}, tune=change), tmp_path / "study"
    )
    pruned = [trial for trial in study.trials if trial.state == "pruned"]
    assert pruned
    assert all(
        len(trial.curve) < 9 and "worse than earlier trials" in trial.reason for trial in pruned
    )
    assert all(len(trial.curve) == 9 for trial in study.trials if trial.state == "complete")
    assert study.used().trials == 20
    again = tune(
        small(tmp_path, train={"epochs": 9, "patience": "none"}, tune=change), tmp_path / "again"
    )
    assert essence(again) == essence(study)


def test_what_is_beyond_a_limit_is_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "latency_ms", lambda scorer, _: float(scorer.item.shape[1]))
    space = {"model.dim": {"choices": [4, 8, 12]}}
    change = {"sampler": "grid", "space": space, "trials": 9, "limits": {"latency_ms": 4.5}}
    study = tune(small(tmp_path, tune=change), tmp_path / "study")
    assert {trial.settings["model.dim"]: trial.within for trial in study.trials} == {
        4: True,
        8: False,
        12: False,
    }
    assert study.best is not None
    assert study.best.settings["model.dim"] == 4
    assert study.optuna.trials[0].constraints == {"latency": 3.5}
    assert read(tmp_path / "study" / "best.toml").model.dim == 4  # type: ignore[attr-defined]


def test_a_trial_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    study = tune(
        small(tmp_path, tune={"trials": 2, "limits": {"seconds": 1e-6}}), tmp_path / "study"
    )
    assert {trial.state for trial in study.trials} == {"pruned"}
    assert all(
        "longer than 1e-06 s" in trial.reason and not trial.within and len(trial.curve) == 1
        for trial in study.trials
    )
    assert study.best is None
    assert not (tmp_path / "study" / "best.toml").exists()


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    study = tune(
        small(tmp_path, tune={"objectives": ["ndcg@5", "coverage@5", "memory"], "trials": 8}),
        tmp_path / "study",
    )
    values = {trial.number: trial.values for trial in study.trials}
    assert all(len(value) == 3 and value[2] > 1 for value in values.values())
    front = {
        i
        for i, (a, b, c) in values.items()
        if not any(
            x >= a and y >= b and z <= c and (x, y, z) != (a, b, c) for x, y, z in values.values()
        )
    }
    assert {trial.number for trial in study.front} == front
    assert study.best is not None
    assert study.best.values[0] == max(value[0] for value in values.values())
    assert {"ndcg@5", "coverage@5", "memory"} <= set(study.table().columns)
    assert study.front == sorted(study.front, key=lambda trial: -trial.values[0])


def test_an_objective_need_not_be_among_the_metrics(tmp_path: Path) -> None:
    made = tree(tmp_path, tune={"objectives": ["recall@3"], "trials": 2})
    for model in ({"name": "mf"}, {"name": "ease"}):
        space = (
            {"train.lr": {"low": 0.001, "high": 0.1}}
            if model["name"] == "mf"
            else {"model.l2": {"low": 1.0, "high": 9.0}}
        )
        experiment = from_tree({**made, "model": model, "tune": {**made["tune"], "space": space}})
        study = tune(experiment, tmp_path / str(model["name"]))
        assert all(0 < trial.values[0] <= 1 for trial in study.trials)


@pytest.mark.parametrize("model", [{"name": "mf"}, {"name": "ease"}])
def test_an_objective_that_no_user_has_is_the_failure_of_a_trial(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    space = (
        {"train.lr": {"low": 0.001, "high": 0.1}}
        if model["name"] == "mf"
        else {"model.l2": {"low": 1.0, "high": 9.0}}
    )
    evaluate = {"metrics": ["coverage@5"], "monitor": "coverage@5", "skip_short_users": True}
    change = {"trials": 2, "space": space, "objectives": ["coverage@5", "ndcg@5"]}
    study = tune(
        from_tree({**tree(tmp_path, evaluate=evaluate, tune=change), "model": model}),
        tmp_path / "study",
    )
    assert [(trial.state, trial.reason) for trial in study.trials] == [
        ("failed", "ndcg@5 is defined for no user of the validation part")
    ] * 2
    assert study.best is None


@pytest.mark.parametrize("model", [{"name": "mf"}, {"name": "ease"}])
@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_monitor_that_no_user_has_stops_the_study_at_once(
    tmp_path: Path, model: dict[str, Any], pruner: str
) -> None:
    space = (
        {"train.lr": {"low": 0.001, "high": 0.1}}
        if model["name"] == "mf"
        else {"model.l2": {"low": 1.0, "high": 9.0}}
    )
    made = tree(
        tmp_path, evaluate={"skip_short_users": True}, tune={"space": space, "pruner": pruner}
    )
    with pytest.raises(InputError, match="ndcg@5 is defined for no user of the validation part"):
        tune(from_tree({**made, "model": model}), tmp_path / "study")
    assert not (tmp_path / "study").exists()


# Budgets, warm starts, going on.


def test_more_budget_goes_on_where_a_larger_study_would_be(tmp_path: Path) -> None:
    whole = tune(small(tmp_path, tune={"trials": 8}), tmp_path / "whole")
    tune(small(tmp_path, tune={"trials": 3}), tmp_path / "study")
    study = tune(None, tmp_path / "study", resume=True, budget={"trials": 8})
    assert essence(study) == essence(whole)
    assert {
        name: value for name, value in files(tmp_path / "study").items() if name != "config.toml"
    } == {name: value for name, value in files(tmp_path / "whole").items() if name != "config.toml"}
    assert read(tmp_path / "study" / "config.toml").tune == whole.experiment.tune


def test_time_ends_a_study(tmp_path: Path) -> None:
    study = tune(small(tmp_path, tune={"trials": 50, "device_seconds": 1e-6}), tmp_path / "device")
    assert len(study.trials) == 1
    study = tune(small(tmp_path, tune={"trials": 50, "seconds": 1e-6}), tmp_path / "wall")
    assert len(study.trials) == 0
    assert study.best is None
    study = tune(None, tmp_path / "wall", resume=True, budget={"seconds": 1e6, "trials": 2})
    assert len(study.trials) == 2


def test_other_settings_or_other_data_cannot_go_on(tmp_path: Path) -> None:
    tune(small(tmp_path, tune={"trials": 1}), tmp_path / "study")
    for change, said in (
        ({"tune": {"seed": 5}}, "tune.seed was 0, and is 5 now"),
        (
            {"train": {"lr": 0.5, "checkpoint_seconds": 1.0}, "name": "other"},
            "train.lr was 0.02, and is 0.5 now",
        ),
        (
            {"tune": {"space": SPACE | {"train.clip": {"choices": [2.0]}}}},
            r"tune.space.train.clip.choices was \[.none., 1.0\], and is \[2.0\] now",
        ),
        ({"train": {"clip": 1.0}}, "train.clip was not set, and is 1.0 now"),
    ):
        with pytest.raises(
            InputError, match=f"study: was begun with other settings: {said}; resume without"
        ):
            tune(small(tmp_path, **change), tmp_path / "study", resume=True)
    with pytest.raises(InputError, match="already exists"):
        tune(small(tmp_path), tmp_path / "study")
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text() + "u1,i59\nu2,i58\n")
    before = (tmp_path / "study" / "study.json").read_bytes()
    with pytest.raises(InputError, match="data have changed"):
        tune(None, tmp_path / "study", resume=True, budget={"trials": 3})
    assert (tmp_path / "study" / "study.json").read_bytes() == before


def test_earlier_runs_and_studies_are_tried_after_the_own_settings(tmp_path: Path) -> None:
    execute(small(tmp_path, train={"lr": 0.05}), tmp_path / "run")
    execute(small(tmp_path), tmp_path / "same")
    before = tune(small(tmp_path), tmp_path / "before")
    warm = [str(tmp_path / name) for name in ("run", "same", "before")]
    study = tune(small(tmp_path, tune={"warm": warm, "trials": 4}), tmp_path / "study")
    assert before.best is not None
    origins = ["own", f"warm: {warm[0]}"] + ([f"warm: {warm[2]}"] if before.best.number else [])
    assert [trial.origin for trial in study.trials][: len(origins)] == origins
    assert study.trials[1].settings["train.lr"] == 0.05
    if before.best.number:
        assert study.trials[2].settings == before.best.settings
        assert study.trials[2].values == before.best.values
    ease = {
        "model": {"name": "ease"},
        "tune": {"warm": warm, "space": {"model.l2": {"low": 1.0, "high": 2.0}}},
    }
    with pytest.raises(InputError, match="of the method 'mf', not 'ease'"):
        tune(from_tree({**tree(tmp_path), **ease}), tmp_path / "ease")
    with pytest.raises(InputError, match="is not the folder of a run"):
        tune(small(tmp_path, tune={"warm": [str(tmp_path)]}), tmp_path / "none")


def test_importance_finds_the_field_that_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_trial(experiment: Experiment, *_: Any, **__: Any) -> trials.Outcome:
        return trials.Outcome("complete", (float(np.log10(experiment.train.lr)),))

    monkeypatch.setattr("recsys.study.worker.run_trial", run_trial)
    study = tune(small(tmp_path, tune={"trials": 40, "sampler": "random"}), tmp_path / "study")
    weights = study.importance()
    assert next(iter(weights)) == "train.lr"
    assert sum(weights.values()) == pytest.approx(1)
    assert tune(small(tmp_path, tune={"trials": 3}), tmp_path / "few").importance() == {}


def test_the_journal_is_one_that_optuna_reads(tmp_path: Path) -> None:
    study = tune(small(tmp_path), tmp_path / "study")
    level = optuna.logging.get_verbosity()
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study" / "study.journal"))
    )
    theirs = optuna.load_study(study_name=None, storage=storage)
    assert study.best is not None
    assert theirs.best_value == study.best.values[0]
    assert theirs.best_trial.params["train.lr"] == study.best.settings["train.lr"]
    assert optuna.logging.get_verbosity() == level


def test_a_run_of_an_experiment_with_tune_is_the_run_without_it(tmp_path: Path) -> None:
    experiment = small(tmp_path)
    plain = from_tree({key: value for key, value in tree(tmp_path).items() if key != "tune"})
    assert experiment.fingerprint == plain.fingerprint
    run = execute(experiment, tmp_path / "run")
    assert read(tmp_path / "run" / "config.toml") == experiment
    assert run.fingerprint == execute(plain, tmp_path / "plain").fingerprint


def test_python_has_the_verb() -> None:
    import recsys

    assert recsys.tune is studies.tune
    assert recsys.open_study is studies.open_study
    assert issubclass(TrainingError, InputError)


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from recsys.study.plots import plot

    study = tune(small(tmp_path, tune={"trials": 6, "sampler": "random"}), tmp_path / "study")
    drawn = plot(study, tmp_path / "pictures")
    assert {path.stem for path in drawn} == {
        "history",
        "slice",
        "importance",
        "contour",
        "parallel",
        "curves",
    }
    assert all(path.read_text().rstrip().endswith("</svg>") for path in drawn)
    assert pyplot.get_fignums() == []
    first = tune(small(tmp_path, tune={"trials": 1}), tmp_path / "first")
    assert {path.stem for path in plot(first, tmp_path / "few")} == {"history", "slice", "curves"}


def test_trials_of_an_earlier_study_are_known(tmp_path: Path) -> None:
    before = tune(small(tmp_path, tune={"trials": 5}), tmp_path / "before")
    table = tmp_path / "before" / "trials.parquet"
    study = tune(small(tmp_path, tune={"trials": 3, "seed": 9}), tmp_path / "study", known=table)
    assert [trial.origin for trial in study.trials] == ["imported"] * 5 + ["own", "tpe", "tpe"]
    assert [(t.settings, t.values) for t in study.trials[:5]] == [
        (t.settings, t.values) for t in before.trials
    ]
    assert study.used().trials == 3
    assert study.used().device_seconds == pytest.approx(
        sum(trial.seconds for trial in study.trials[5:]), abs=1e-3
    )
    assert study.best is not None
    assert study.best.values[0] == max(trial.values[0] for trial in study.trials)
    more = tune(None, tmp_path / "study", resume=True, budget={"trials": 4})
    assert [trial.origin for trial in more.trials].count("imported") == 5
    for change, piece in (
        ({"train": {"epochs": 2}}, "other settings or another space"),
        ({"tune": {"objectives": ["recall@5"]}}, "other objectives"),
        ({"tune": {"space": {"model.dim": {"low": 4, "high": 8}}}}, "another space"),
    ):
        with pytest.raises(InputError, match=piece):
            tune(small(tmp_path, **change), tmp_path / "other", known=table)
    assert not (tmp_path / "other").exists()
    wider = {**SPACE, "model.dim": {"low": 4, "high": 64, "step": 4}}
    assert (
        len(
            tune(
                small(tmp_path, tune={"space": wider, "trials": 1}), tmp_path / "wider", known=table
            ).trials
        )
        == 6
    )
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text() + "u1,i59\nu2,i58\n")
    with pytest.raises(InputError, match="other data"):
        tune(small(tmp_path), tmp_path / "other", known=table)


def test_trials_with_words_that_are_none_of_the_choices_are_known(tmp_path: Path) -> None:
    space = {"train.optimizer": {"choices": ["adam", "sgd"]}, "train.clip": {"choices": [0.5, 1.0]}}
    experiment = small(tmp_path, train={"optimizer": "adagrad"}, tune={"space": space, "trials": 2})
    before = tune(experiment, tmp_path / "before")
    study = tune(experiment, tmp_path / "study", known=tmp_path / "before" / "trials.parquet")
    assert [trial.settings for trial in study.trials[:2]] == [
        trial.settings for trial in before.trials
    ]
    assert study.trials[0].settings == {"train.optimizer": "adagrad", "train.clip": "none"}


def test_whole_numbers_are_choices_of_a_field_of_real_ones(tmp_path: Path) -> None:
    """1 in the file is 1.0 in the experiment: it lies in the space and survives a table."""
    space = {
        "model.l2": {"choices": [1, 0]},
        "model.loss": {"choices": [{"kind": "softmax", "temperature": 1}, {"kind": "bpr"}]},
    }
    changes: dict[str, Any] = {
        "model": {"l2": 1.0, "loss": {"kind": "softmax"}},
        "tune": {"space": space, "trials": 2, "sampler": "grid"},
    }
    study = tune(small(tmp_path, **changes), tmp_path / "study")
    assert study.trials[0].settings == {
        "model.l2": 1.0,
        "model.loss": {"kind": "softmax", "temperature": 1},
    }
    assert study.optuna.trials[0].params.keys() == space.keys()
    known = tune(
        small(tmp_path, **changes), tmp_path / "known", known=tmp_path / "study" / "trials.parquet"
    )
    assert all(trial.params.keys() == space.keys() for trial in known.optuna.trials)


def test_a_field_that_has_no_effect_is_noted(tmp_path: Path) -> None:
    def notes(name: str, space: dict[str, Any], **more: Any) -> list[str]:
        events: list[Any] = []
        tune(
            small(tmp_path, tune={"space": space, "trials": 1}, **more),
            tmp_path / name,
            watch=events.append,
        )
        return [event.text for event in events if isinstance(event, Note)]

    margin = {"model.loss.margin": {"low": 0.5, "high": 2.0}}
    idle = ["'model.loss.margin' is searched but has no effect, for any values of the other fields"]
    assert notes("idle", margin) == idle
    assert (
        notes("among others", margin | {"model.loss.kind": {"choices": ["bpr", "softmax"]}}) == idle
    )
    assert notes("sometimes", margin | {"model.loss.kind": {"choices": ["bpr", "hinge"]}}) == []
    assert notes("always", margin, model={"loss": {"kind": "hinge"}}) == []
    assert notes("none", SPACE) == []


# Two commands on one folder.


@pytest.mark.parametrize("begun", [False, True])
def test_of_two_commands_on_a_folder_the_second_is_refused_while_the_first_reads_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    load, refused = studies.train_valid_of, []
    if begun:
        tune(small(tmp_path, tune={"trials": 1}), tmp_path / "study")

    def slow(*args: Any) -> Any:
        monkeypatch.setattr(studies, "train_valid_of", load)
        with pytest.raises(InputError, match="another command works on this study") as caught:
            tune(small(tmp_path, tune={"trials": 3}), tmp_path / "study", resume=begun)
        refused.append(caught.value)
        return load(*args)

    monkeypatch.setattr(studies, "train_valid_of", slow)
    study = tune(small(tmp_path, tune={"trials": 2}), tmp_path / "study", resume=begun)
    assert len(refused) == 1
    assert len(study.trials) == 2
    assert not (tmp_path / "study" / ".lock").exists()


@pytest.mark.parametrize("moment", ["DataLoaded", "StepDone", "TrialDone"])
def test_while_a_command_works_on_a_study_no_other_does(tmp_path: Path, moment: str) -> None:
    refused = []

    def watch(event: object) -> None:
        if type(event).__name__ == moment and not refused:
            with pytest.raises(
                InputError, match="study: another command works on this study; wait for it"
            ) as caught:
                tune(None, tmp_path / "study", resume=True)
            refused.append(caught.value)

    study = tune(small(tmp_path), tmp_path / "study", watch=watch)
    assert len(refused) == 1
    assert essence(study) == essence(tune(None, tmp_path / "study", resume=True))


def test_a_command_that_is_killed_or_fails_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(event: object) -> None:
        if isinstance(event, TrialDone):
            raise Killed

    with pytest.raises(Killed):
        tune(small(tmp_path), tmp_path / "study", watch=die)
    assert len(tune(None, tmp_path / "study", resume=True).trials) == 6
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".lock").touch()  # killed before it wrote anything
    assert len(tune(small(tmp_path, tune={"trials": 1}), tmp_path / "early").trials) == 1


def test_settings_to_begin_with_come_too_late_when_it_goes_on(tmp_path: Path) -> None:
    execute(small(tmp_path, train={"lr": 0.05}), tmp_path / "run")
    warm = {"warm": [str(tmp_path / "run")]}
    tune(small(tmp_path, tune={"trials": 1}), tmp_path / "cold")
    with pytest.raises(
        InputError,
        match=r"cold: \[tune\] warm: '.*run' is new, and .* the beginning of a study; leave it out",
    ):
        tune(small(tmp_path, tune={"trials": 2, **warm}), tmp_path / "cold", resume=True)
    assert open_study(tmp_path / "cold").experiment.tune.warm == ()  # type: ignore[union-attr]
    tune(small(tmp_path, tune={"trials": 2, **warm}), tmp_path / "warm")
    assert (
        len(
            tune(small(tmp_path, tune={"trials": 3, **warm}), tmp_path / "warm", resume=True).trials
        )
        == 3
    )
    assert (
        len(tune(small(tmp_path, tune={"trials": 4}), tmp_path / "warm", resume=True).trials) == 4
    )
