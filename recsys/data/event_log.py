"""The log: every event of the data in row numbers, with those that the pairs leave out or merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.data.numbering import HeldOutPairs, has_ties, interactions, log_order, with_ticks
from recsys.data.raw_parts import RawParts
from recsys.data.types import Dataset, Interactions
from recsys.data.vocab import Vocab

__all__ = ["Logged", "with_log"]


@dataclass(frozen=True)
class Logged:
    """A data set with its log.

    Args:
        dataset: all interactions, or the train part.
        valid_log, test_log: the events of the valid and of the test part of a source that is
            already split, or None.
    """

    dataset: Dataset
    valid_log: Interactions | None = None
    test_log: Interactions | None = None


def with_log(data: Dataset, held_out: HeldOutPairs, parts: RawParts) -> Logged:
    """Return the data set with every event, if the parts keep them.

    Events of users and items without a pair are left out, because the vocabularies lack them; a
    line of the history gives their number. If the pairs leave out and merge no event, the log is
    `data.pairs` itself.

    Args:
        data: the pairs.
        held_out: the pairs of valid and test, as `dataset` returns them.
        parts: the prepared interactions that `data` was made of.
    """
    if not parts.logs:
        return Logged(data)
    if _are_pairs(parts):
        return Logged(replace(data, events=data.pairs), *(held_out or ()))
    frames, unit = with_ticks(dict(parts.logs))
    orders = {name: log_order(frame, parts.in_file_order) for name, frame in frames.items()}
    # Rows of the source order equal times, and rows without times.
    is_ordered = parts.in_file_order and any(
        "time" not in frame.columns or has_ties(frame, orders[name])
        for name, frame in frames.items()
    )
    sessions = _sessions(data.sessions, frames, orders)
    named = [frame["behaviour"] for frame in frames.values() if "behaviour" in frame.columns]
    behaviours = Vocab.of(pl.concat(named), "behaviour") if named else None
    logs: dict[str, Interactions] = {}
    n_left_out = 0
    start = 0
    for name, frame in frames.items():
        known = (data.users.rows(frame["user"]) >= 0) & (data.items.rows(frame["item"]) >= 0)
        order = np.arange(start, start + frame.height)[known] if is_ordered else None
        logs[name] = interactions(
            frame.filter(pl.Series(known)),
            data.users,
            data.items,
            behaviours,
            sessions=sessions,
            unit=unit,
            order=order,
        )
        n_left_out += int((~known).sum())
        start += frame.height
    log = logs["all" if parts.all is not None else "train"]
    note = f"log: {sum(map(len, logs.values()))} events kept"
    if n_left_out:
        note += f", {n_left_out} of users or items without a pair left out"
    data = replace(data, events=log, sessions=sessions, history=(*data.history, note))
    return Logged(data, logs.get("valid"), logs.get("test"))


def _are_pairs(parts: RawParts) -> bool:
    """Return whether the pairs are all events, and have the order of the events."""
    for name, frame in parts.frames.items():
        if parts.logs[name].height != frame.height:
            return False
        if {"clicked", "position"} & set(parts.logs[name].columns):
            return False  # columns of the log alone
        if parts.in_file_order and "time" not in frame.columns:
            return False  # pairs without times do not keep their order
    return True


def _sessions(
    known: Vocab | None, frames: Mapping[str, pl.DataFrame], orders: Mapping[str, np.ndarray | None]
) -> Vocab | None:
    """Return the sessions of the pairs, then those that only the log has."""
    if known is None:
        return None
    columns = [known.ids]
    for name, frame in frames.items():
        if "session" in frame.columns:
            order = orders[name]
            ids = frame["session"] if order is None else frame["session"].gather(order)
            columns.append(ids.alias(known.ids.name))
    return Vocab(pl.concat(columns).unique(maintain_order=True), known.name)
