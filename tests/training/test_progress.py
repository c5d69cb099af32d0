"""Progress events and the entries of the history: values, and JSON at the border."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from recsys.errors import InputError
from recsys.training.checkpoint import State
from recsys.training.progress import (
    EpochEntry,
    StepDone,
    append_entry,
    read_history,
    write_history,
)

ENTRY = EpochEntry(
    epoch=3,
    seconds=0.25,
    loss=1.5,
    pairs_per_second=4000,
    denoise={"dropped": 7, "weight": 0.5, "clean": None},
    valid={"ndcg@5": 0.125},
    valid_seconds=0.5,
    valid_loss=0.75,
    best=True,
)
# A line as versions before these classes wrote it.
LINE = (
    '{"best": true, "denoise": {"clean": null, "dropped": 7, "weight": 0.5}, "epoch": 3, '
    '"loss": 1.5, "pairs_per_second": 4000, "seconds": 0.25, "valid": {"ndcg@5": 0.125}, '
    '"valid_loss": 0.75, "valid_seconds": 0.5}\n'
)


def test_a_line_of_the_history_is_the_text_it_always_was(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_history(path, [ENTRY])
    assert path.read_text() == LINE
    append_entry(path, EpochEntry(epoch=4, seconds=1.0))
    assert path.read_text() == LINE + '{"epoch": 4, "seconds": 1.0}\n'
    assert read_history(path) == [ENTRY, EpochEntry(epoch=4, seconds=1.0)]
    assert read_history(tmp_path / "none.jsonl") == []


def test_a_metric_of_an_entry_is_found_by_any_of_its_names() -> None:
    assert ENTRY.metric("ndcg@5") == ENTRY.metric(" ndcg@5 ") == 0.125
    assert math.isnan(ENTRY.metric("recall@5"))
    assert math.isnan(EpochEntry(epoch=1, seconds=0.0).metric("ndcg@5"))


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "expected the values of an epoch"),
        ('{"epoch": 1}', "'seconds' is missing"),
        ('{"epoch": "1", "seconds": 1.0}', "epoch must be an integer, got '1'"),
        ('{"epoch": 1, "seconds": 1.0, "lost": 2.0}', "unknown key 'lost'"),
    ],
)
def test_a_damaged_history_names_the_line(tmp_path: Path, line: str, cause: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(LINE + line + "\n")
    with pytest.raises(InputError, match=cause) as caught:
        read_history(path)
    assert caught.value.place == f"{path}:2"
    assert "damaged" in str(caught.value.remedy)


def test_the_state_of_a_checkpoint_comes_back() -> None:
    state = State(
        epoch=3, step=2, best=0.125, best_epoch=3, first_loss=2.0, seconds=0.5, history=[ENTRY]
    )
    plain = json.loads(json.dumps(state.to_json()))
    assert State.from_json(plain) == state
    assert State.from_json(json.loads(json.dumps(State().to_json()))) == State()
    with pytest.raises(KeyError):
        State.from_json({"epoch": 1})


def test_events_are_values() -> None:
    event = StepDone(epoch=0, step=1, steps=5, pairs=32)
    assert event == StepDone(0, 1, 5, 32)
    with pytest.raises(FrozenInstanceError):
        event.step = 2  # type: ignore[misc]
