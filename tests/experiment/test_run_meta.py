"""`run.json`: read strictly, and in every form that a version has written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import InputError
from recsys.experiment.environment import current_environment
from recsys.experiment.run import Opening, Run, open_run
from recsys.experiment.run_meta import Environment, RunMeta

# As it was written before it was read into a class.
FINISHED: dict[str, Any] = {
    "format": 1,
    "status": "finished",
    "name": "mf-shop",
    "method": "mf",
    "experiment": "43c78b",
    "started": "2026-11-29T13:06:58+00:00",
    "environment": {
        "python": "3.11.7",
        "system": "Linux",
        "cpus": 2,
        "threads": 1,
        "gpu": None,
        "packages": {"recsys": "0.1.0", "optuna": "not installed"},
    },
    "split": {
        "fingerprint": "ccf065",
        "pairs": "ccf066",
        "rule": "last 1",
        "users": 30,
        "items": 20,
        "train": 180,
        "valid": 30,
        "test": 30,
        "history": ["log.csv: 240 rows"],
        "findings": [],
    },
    "encoders": {"text": "encoder"},
    "best_epoch": 2,
    "stopped": "all 4 epochs done; kept epoch 2, evaluation 2 of 4 on valid",
    "stopping": {
        "reason": "epochs",
        "epochs": 4,
        "allowed": 4,
        "best_epoch": 2,
        "evaluations": 4,
        "best_evaluation": 2,
        "marks": [],
        "line": "all 4 epochs done; kept epoch 2, evaluation 2 of 4 on valid",
    },
    "train_seconds": 0.5,
    "seconds": 1.25,
    "finished": "2026-11-29T13:07:03+00:00",
    "parameters": 400,
}


def write(folder: Path, values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(values))
    return folder


def test_what_was_written_is_read_and_written_the_same(tmp_path: Path) -> None:
    meta = RunMeta.read(write(tmp_path / "run", FINISHED))
    assert json.dumps(meta.to_json()) == json.dumps(FINISHED)
    assert (meta.best_epoch, meta.environment.packages) == (2, FINISHED["environment"]["packages"])
    run = open_run(tmp_path / "run")
    assert (run.split.fingerprint, run.pairs_fingerprint) == ("ccf065", "ccf066")
    assert run.stopping.why == "all 4 epochs done"
    assert run.encoders == {"text": "encoder"}


def test_runs_of_early_versions_open(tmp_path: Path) -> None:
    """They had one hash of the split, no findings, no record of the end, and no encoders."""
    split = {k: v for k, v in FINISHED["split"].items() if k not in ("pairs", "findings")}
    old = {k: v for k, v in FINISHED.items() if k not in ("stopping", "encoders")}
    run = open_run(write(tmp_path / "run", old | {"split": split}))
    assert run.pairs_fingerprint == run.split.fingerprint == "ccf065"
    assert run.split.findings == ()
    assert run.encoders == {}
    bare = {"format": 1, "status": "running", "experiment": "43c78b"}
    begun = open_run(write(tmp_path / "begun", bare), finished=False)
    assert (begun.name, begun.pairs_fingerprint) == ("begun", "")
    assert begun.meta.environment == Environment()
    with pytest.raises(InputError, match="without 'split'"):
        _ = begun.split


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda meta: meta.pop("split"), "without 'split'"),
        (lambda meta: meta.pop("experiment"), "without 'experiment'"),
        (lambda meta: meta["split"].pop("fingerprint"), "'fingerprint' is missing"),
        (lambda meta: meta["split"].update(train="many"), "train must be an integer, got 'many'"),
        (lambda meta: meta.update(best_epoch="two"), "best_epoch must be an integer, got 'two'"),
        (lambda meta: meta.update(status="done"), "got 'done'"),
        (lambda meta: meta.update(stoped="all"), "unknown key 'stoped'"),
        (lambda meta: meta["environment"].update(cpu=2), "unknown key 'cpu'"),
        (lambda meta: meta["stopping"].pop("epochs"), "'stopping' is damaged: 'epochs'"),
        (lambda meta: meta["stopping"].update(marks="†"), "'marks' must be of type list"),
    ],
)
def test_a_damaged_run_json_fails_when_it_is_opened(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object], cause: str
) -> None:
    meta = json.loads(json.dumps(FINISHED))
    damage(meta)
    with pytest.raises(InputError, match=cause) as caught:
        open_run(write(tmp_path / "run", meta))
    assert str(caught.value.place).startswith(str(tmp_path / "run"))
    assert "damaged" in str(caught.value.remedy)


def test_the_environment_is_that_of_this_process() -> None:
    environment = current_environment()
    assert environment.packages is not None
    assert environment.packages["torch"].split("+")[0].count(".") == 2
    assert environment.threads is not None
    assert environment.threads >= 1


def test_openings_are_read_and_a_damaged_record_names_the_line(tmp_path: Path) -> None:
    run = Run(write(tmp_path / "run", FINISHED), RunMeta.read(tmp_path / "run"))
    assert run.openings() == []
    path = tmp_path / "run" / "openings.jsonl"
    path.write_text('{"process": 1, "reason": "run", "test": "7f", "time": "now"}\n')
    assert run.openings() == [Opening("now", "run")]
    path.write_text(path.read_text() + '{"time": "later"}\n')
    with pytest.raises(InputError, match=r"openings.jsonl:2: .*reason"):
        run.openings()
