"""The typed records of a study: events between processes, study.json, and trial attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from recsys.errors import InputError
from recsys.study.attributes import Facts, TrialAttributes, read_queue, write_study_attributes
from recsys.study.meta import (
    BestTrial,
    ImportedTrial,
    QueuedTrial,
    StudyMeta,
    Used,
    plain_values,
    read_meta,
    write_meta,
)
from recsys.study.optuna_private import study_id, trial_id
from recsys.study.pool_task import PoolTask, error_from_json, error_to_json, is_error
from recsys.study.progress import TrialBegun, TrialDone, event_from_json, event_to_json
from recsys.study.storage import quiet
from recsys.training.stopping import Stopping

SETTINGS: dict[str, Any] = {"train.lr": 0.02, "model.loss": {"kind": "bpr"}, "model.dim": 8}
# study.json as an earlier version wrote it.
EARLIER = {
    "format": 1,
    "status": "running",
    "name": "small",
    "method": "mf",
    "study": "small-ea87046a3e7b",
    "identity": "ea87",
    "split": "bcc3",
    "id": "b3f5",
    "storage": None,
    "objectives": ["ndcg@5", "seconds"],
    "queue": [{"origin": "own", "settings": SETTINGS}],
    "known": [
        {
            "values": [0.25],
            "settings": SETTINGS,
            "seconds": 1.5,
            "best_epoch": None,
            "within": True,
        }
    ],
    "started": "2026-11-29T12:41:23+00:00",
    "environment": {"python": "3.11.7", "cpus": 2},
}


def done(**changes: Any) -> TrialDone:
    values = {
        "number": 3,
        "state": "complete",
        "values": {"ndcg@5": 0.1 + 0.2},
        "within": True,
        "settings": SETTINGS,
        "origin": "tpe",
        "seconds": 0.25,
        "reason": "",
        "best": BestTrial(number=1, values=(0.5,)),
        "used": Used(trials=4, seconds=2.0, device_seconds=1.0),
    }
    return TrialDone(**{**values, **changes})


@pytest.mark.parametrize(
    "event",
    [
        TrialBegun(0, SETTINGS),
        done(),
        done(state="pruned", values={}, reason="worse", best=None, within=False),
    ],
)
def test_an_event_is_the_same_in_another_process(event: TrialBegun | TrialDone) -> None:
    line = json.dumps(event_to_json(event))
    assert event_from_json(json.loads(line)) == event


def test_an_error_and_a_task_are_the_same_in_another_process() -> None:
    error = InputError("is wrong", place="mf.toml", remedy="correct it")
    plain = json.loads(json.dumps(error_to_json(error)))
    assert is_error(plain)
    assert not is_error(event_to_json(TrialBegun(0, {})))
    assert str(error_from_json(plain)) == "mf.toml: is wrong; correct it"
    task = PoolTask(folder="runs/study", storage=None, deadline=1.5, parent=7)
    assert PoolTask.from_json(json.loads(json.dumps(task.to_json()))) == task


def written(folder: Path, **changes: Any) -> Path:
    record = {key: value for key, value in {**EARLIER, **changes}.items() if value != "absent"}
    (folder / "study.json").write_text(json.dumps(record))
    return folder


def test_a_record_of_an_earlier_version_is_read_and_comes_back(tmp_path: Path) -> None:
    meta = read_meta(written(tmp_path))
    assert meta.objectives == ("ndcg@5", "seconds")
    assert meta.queue == (QueuedTrial(origin="own", settings=SETTINGS),)
    assert meta.known[0].values == (0.25,)
    assert (meta.used, meta.best, meta.storage) == (None, None, None)
    write_meta(tmp_path, meta)
    assert read_meta(tmp_path) == meta
    record = json.loads((tmp_path / "study.json").read_text())
    assert list(record) == [*EARLIER, "used", "best"]
    environment = record.pop("environment")
    assert {key: environment[key] for key in ("python", "cpus", "gpu")} == {
        "python": "3.11.7",
        "cpus": 2,
        "gpu": None,
    }
    kept = {key: value for key, value in EARLIER.items() if key != "environment"}
    assert record == {**kept, "used": None, "best": None}
    used = {"trials": 2, "seconds": 3.5, "device_seconds": 1.25}
    best = {"number": 1, "values": [0.5, 2.0]}
    meta = read_meta(written(tmp_path, used=used, best=best))
    assert meta.used == Used(**used)
    assert meta.best == BestTrial(number=1, values=(0.5, 2.0))


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"identity": "absent"}, ("study.json", "key 'identity' is missing", "damaged")),
        ({"split": 5}, ("study.json", "split must be text, got 5", "damaged")),
        ({"status": "resting"}, ("got 'resting'", "'running' or 'finished'")),
        ({"queue": [{"origin": "own"}]}, ("study.json: queue[0]", "key 'settings' is missing")),
        ({"known": [{"values": ["x"]}]}, ("known[0]", "damaged")),
        ({"used": {"trails": 3}}, ("study.json: used: unknown key 'trails'", "damaged")),
        ({"best": {"number": 1}}, ("study.json: best", "key 'values' is missing")),
        ({"objective": "ndcg@5"}, ("unknown key 'objective'", "damaged")),
        ({"format": 2}, ("written by a newer version (format 2, expected 1)", "update recsys")),
        ({"format": "absent"}, ("is not the record of a study", "`recsys tune` printed")),
    ],
)
def test_a_damaged_record_is_refused_with_the_name_of_the_key(
    tmp_path: Path, changes: dict[str, Any], pieces: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        read_meta(written(tmp_path, **changes))
    for piece in pieces:
        assert piece in str(caught.value), str(caught.value)


STOPPING = Stopping("patience", 5, 9, 2, 5, 2, ("early dip",))


def test_attributes_of_a_trial_are_written_and_read_in_one_place() -> None:
    facts = Facts(best_epoch=2, epochs=5, stopping=STOPPING, valid={"ndcg@5": 0.5}, memory=12.5)
    first = TrialAttributes(place="here", origin="tpe", settings=SETTINGS)
    last = TrialAttributes(seconds=0.5, facts=facts, reason="worse")
    with quiet():
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    trial = study.ask()
    number = study._storage.get_trial_id_from_study_id_trial_number(study_id(study), 0)
    for attributes in (first, last):
        attributes.write(study._storage, number)
    frozen = study.get_trials()[0]
    assert trial_id(frozen) == number
    assert trial.number == 0
    assert TrialAttributes.of(frozen) == TrialAttributes(
        "here", "tpe", SETTINGS, 0.5, facts, "worse"
    )
    assert frozen.user_attrs["facts"] == {
        "best_epoch": 2,
        "stopping": STOPPING.plain(),
        "valid": {"ndcg@5": 0.5},
        "memory": 12.5,
        "epochs": 5,
    }


def test_attributes_that_are_missing_are_none() -> None:
    empty = TrialAttributes.of(create_trial(state=TrialState.RUNNING))
    assert empty == TrialAttributes()
    assert empty.to_json() == {}
    assert TrialAttributes(facts=Facts()).to_json() == {"facts": {}}
    assert TrialAttributes(origin="imported").is_imported
    assert not TrialAttributes(origin="own").is_imported


def meta_of(**changes: Any) -> StudyMeta:
    values: dict[str, Any] = {
        **{key: EARLIER[key] for key in ("status", "name", "method", "study", "identity")},
        "format": 1,
        "split": "bcc3",
        "id": "b3f5",
        "objectives": ("ndcg@5",),
        "queue": (QueuedTrial(origin="own", settings=SETTINGS),),
        "known": (ImportedTrial(values=(0.5,), settings=SETTINGS),),
    }
    return StudyMeta(**{**values, **changes})


def test_machines_agree_on_queue_and_split() -> None:
    with quiet():
        entry = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    write_study_attributes(entry, meta_of(), "trials.db")
    other = meta_of(queue=(QueuedTrial(origin="warm: x", settings={}),))
    write_study_attributes(entry, other, "trials.db")  # the queue of the first machine is kept
    assert read_queue(entry._storage, study_id(entry)) == meta_of().queue
    assert entry.user_attrs["queue"] == [plain_values(queued) for queued in meta_of().queue]
    with pytest.raises(InputError, match=r"trials\.db: .*other data; use the same data"):
        write_study_attributes(entry, meta_of(split="other"), "trials.db")
