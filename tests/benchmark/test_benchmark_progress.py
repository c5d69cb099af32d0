"""Progress events: typed inside a process, JSON between processes; and the records of a cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_plan import tree, written
from typer.testing import CliRunner

from recsys.benchmark import progress
from recsys.benchmark.cell import (
    Chosen,
    RunCost,
    needed_seeds,
    read_cell,
    read_chosen,
    read_run_cost,
    write_chosen,
    write_run_cost,
)
from recsys.benchmark.plan import read_plan
from recsys.benchmark.progress import Task, TaskDone, TaskFailed, TrialDone
from recsys.benchmark.running import benchmark, check
from recsys.benchmark.task import WorkOptions
from recsys.cli import app
from recsys.errors import InputError

TASK = Task("one", "mf", 2)
COST = RunCost(False, "abc", 3, 1.5, 2.5, 100, 999.5, None)


@pytest.mark.parametrize(
    "event",
    [
        TrialDone(TASK, 4, "complete", {"ndcg@5": 0.25}),
        TrialDone(TASK, 5, "failed", {}),
        TaskDone(TASK),
        TaskFailed(TASK, "out of memory"),
    ],
)
def test_an_event_of_a_worker_is_the_same_after_json(event):
    assert progress.from_json(json.loads(json.dumps(progress.to_json(event)))) == event


def test_an_unknown_event_is_refused():
    with pytest.raises(ValueError, match="unknown event 'lunch'"):
        progress.from_json({"event": "lunch", "task": ["one", "mf", 2]})


def test_options_are_the_same_after_json(tmp_path):
    options = WorkOptions(tmp_path / "a b", energy=True)
    assert WorkOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize("workers", [1, 2])
def test_events_come_in_order(log, tmp_path, workers):
    events = []
    config = written(tmp_path, tree(log, seeds=1))
    benchmark(config, tmp_path / "out", workers=workers, watch=events.append)
    kinds = [type(event).__name__ for event in events]
    assert kinds[:3] == ["DataLoaded", "DataLoaded", "TaskBegun"]
    done = [event for event in events if isinstance(event, TaskDone)]
    assert {event.task.seed for event in done} == {0, 1}
    assert len(done) == 8
    assert all(event.seconds > 0 for event in done)
    assert done[-1].left == 0
    trials = [event for event in events if isinstance(event, TrialDone)]
    assert sorted(trial.number for trial in trials) == [0] * 4 + [1] * 4
    assert all(trial.values.keys() == {"ndcg@5"} for trial in trials)


def test_records_are_the_same_after_writing(tmp_path):
    chosen = Chosen(3, 1.25, {"train.lr": 0.1}, {"name": "mf"}, number=1, value=0.5)
    write_chosen(tmp_path, chosen)
    write_run_cost(tmp_path, 1, COST)
    assert read_chosen(tmp_path) == chosen
    assert read_run_cost(tmp_path, 1) == COST
    state = read_cell(tmp_path, range(1, 4))
    assert (state.chosen, state.runs, state.failed) == (chosen, {1: COST}, "")


def test_records_of_earlier_versions_are_read(tmp_path):
    """Written before the records had types: without a search there was no number."""
    (tmp_path / "chosen.json").write_text(
        '{"trials": 0, "seconds": 0.0, "settings": {}, "tree": {"name": "popular"}}'
    )
    assert read_chosen(tmp_path) == Chosen(0, 0.0, {}, {"name": "popular"})


def test_a_damaged_record_is_one_error(tmp_path):
    (tmp_path / "seed-1.json").write_text('{"closed": true}')
    with pytest.raises(InputError, match=r"seed-1\.json: is damaged: 'scorer' is missing"):
        read_run_cost(tmp_path, 1)
    (tmp_path / "chosen.json").write_text("[]")
    with pytest.raises(InputError, match="is damaged: 'trials' is missing"):
        read_cell(tmp_path, [1])


def test_a_second_run_is_needed_unless_a_closed_form_repeats_itself(tmp_path):
    closed = replace(COST, closed=True)
    for second, needed in (
        (closed, [1]),
        (replace(closed, scorer="other"), [1, 2, 3]),
        (COST, [1, 2, 3]),
    ):
        write_run_cost(tmp_path, 1, closed)
        write_run_cost(tmp_path, 2, second)
        assert needed_seeds(read_cell(tmp_path, range(1, 4)), range(1, 4)) == needed


def test_a_dry_run_checks_every_cell_and_writes_nothing(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = read_plan(written(tmp_path, tree(log)))
    before = sorted(tmp_path.rglob("*"))
    events = []
    check(plan, events.append)
    assert [event.name for event in events] == ["one", "other"]
    assert sorted(tmp_path.rglob("*")) == before
    touched = {"rows": "touched", "optimizer": "adam"}
    plan = read_plan(written(tmp_path, tree(log, methods=["mf", "directau"], train=touched)))
    with pytest.raises(InputError, match=r"directau on one: \[train\] rows"):
        check(plan)


def test_a_data_set_that_is_absent_is_one_error(tmp_path):
    plan = read_plan(written(tmp_path, tree(Path("nowhere") / "log.csv")))
    with pytest.raises(InputError, match=r"one: .*log\.csv"):
        check(plan)


def test_the_command_line_changes_a_plan_and_prints_its_size(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = str(written(tmp_path, tree(log)))
    result = CliRunner().invoke(app, ["benchmark", config, "seeds=3", "trials=5", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "no mistake in 2 methods on 2 data sets; 20 trials and at most 12 runs" in result.output
    result = CliRunner().invoke(app, ["benchmark", config, "--dry-run", "--json", "--quiet"])
    assert json.loads(result.stdout) == {
        "methods": ["ease", "mf"],
        "data": ["one", "other"],
        "trials": 8,
        "runs": 8,
    }
    result = CliRunner().invoke(app, ["benchmark", config, "--dry-run", "--status"])
    assert isinstance(result.exception, InputError)
    assert not (tmp_path / "runs").exists()
