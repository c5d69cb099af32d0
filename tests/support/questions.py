"""Logs with ties and repeats, and what a split asks, as plain lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.data.load import LoadedData, load
from recsys.data.types import Dataset, HeldOut, Interactions, Split

START = 1_600_000_000


@dataclass(frozen=True, order=True)
class Event:
    """One row of a log, in the order in which it happened."""

    time: int
    line: int
    user: int
    item: int
    buys: bool = True
    session: int = -1


@dataclass(frozen=True, order=True)
class Question:
    """A query with its answers: the owner of the path, items before, items after."""

    owner: Any
    history: tuple[int, ...]
    answers: tuple[int, ...]


def random_log(
    seed: int = 0, *, n: int = 500, users: int = 14, times: int = 90, views: bool = True
) -> pl.DataFrame:
    """Return a log in which most times tie, most pairs repeat and some users do little."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user": (users * rng.random(n) ** 2).astype(int),
            "item": (25 * rng.random(n) ** 1.5).astype(int),
            "time": START + rng.integers(0, times, n),
            "event": rng.choice(["view", "buy"], n) if views else ["buy"] * n,
        }
    )
    lonely = {
        "user": [90, 91, 91],
        "item": [1, 2, 2],
        "time": [START + 40] * 3,
        "event": ["buy"] * 3,
    }
    return pl.concat([frame, pl.DataFrame(lonely)])


def loaded(frame: pl.DataFrame, **source: Any) -> LoadedData:
    """Return a log of which purchases are the pairs, with every event kept."""
    return load(frame, behaviours=("buy",), keep_log=True, **source)


def events_of(frame: pl.DataFrame, data: Dataset) -> list[Event]:
    """Return the rows of a log that the data set knows, in order of time, then of the file."""
    users, items = set(data.users.ids), set(data.items.ids)
    sessions = frame["visit"].to_list() if "visit" in frame.columns else [-1] * frame.height
    rows = [
        Event(time, line, user, item, event == "buy", session)
        for line, ((user, item, time, event), session) in enumerate(
            zip(frame.select("user", "item", "time", "event").rows(), sessions, strict=True)
        )
        if user in users and item in items
    ]
    return sorted(rows)


def rows_of(data: Dataset, log: Interactions) -> list[tuple[int, int, int]]:
    """Return user, item and time of interactions, sorted."""
    users, items = data.users.ids.gather(log.user), data.items.ids.gather(log.item)
    assert log.time is not None
    return sorted(zip(users.to_list(), items.to_list(), log.time.tolist(), strict=True))


def triples(events: list[Event]) -> list[tuple[int, int, int]]:
    return sorted((event.user, event.item, event.time) for event in events)


def pairs_of(data: Dataset, pairs: Interactions) -> list[tuple[int, int]]:
    """Return user and item of pairs, sorted."""
    users, items = data.users.ids.gather(pairs.user), data.items.ids.gather(pairs.item)
    return sorted(zip(users.to_list(), items.to_list(), strict=True))


def bought(events: list[Event]) -> list[tuple[int, int]]:
    """Return the distinct pairs of the purchases, sorted."""
    return sorted({(event.user, event.item) for event in events if event.buys})


def asked(
    data: Dataset, held: HeldOut | None, owner: Callable[[int], Any] | None = None
) -> list[Question]:
    """Return what a part asks, sorted.

    Args:
        data: knows the ids.
        held: the part.
        owner: id of a unit; None: of the user.
    """
    if held is None:
        return []
    name = owner or (lambda row: data.users.ids[row])
    items = data.items.ids.to_list()
    assert held.queries.history is not None
    return sorted(
        Question(
            name(unit),
            tuple(items[item] for item in history),
            tuple(sorted(items[item] for item in answers.indices)),
        )
        for unit, history, answers in zip(
            held.unit.tolist(), held.queries.history, held.answers, strict=True
        )
    )


def opened(split: Split) -> HeldOut:
    assert split.test is not None
    return split.test.open("a test")


def question(owner: Any, before: list[Event], answers: list[Event]) -> Question:
    items = tuple(sorted({event.item for event in answers}))
    return Question(owner, tuple(event.item for event in before), items)


def by_user(events: list[Event]) -> dict[int, list[Event]]:
    """Return the events of each user, in order."""
    grouped: dict[int, list[Event]] = {}
    for event in events:
        grouped.setdefault(event.user, []).append(event)
    return grouped
