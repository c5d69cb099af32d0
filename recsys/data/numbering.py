"""Numbering: external ids to row numbers, and frames to a Dataset.

Ids are numbered in the order in which the log first mentions them: by time, equal times in the
order of the file. So nothing that draws by row number, or visits rows in turn, depends on the
spelling of ids. A log whose times all differ gives the same rows for any order of its file. A
source without an order, such as a matrix or a folder of many files, is ordered by a hash of user id
and item id.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl

from recsys.data.hashing import hash_ids, hash_pairs
from recsys.data.raw_parts import RawParts
from recsys.data.times import Unit, count_ticks
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError

__all__ = ["HeldOutPairs", "dataset", "has_ties", "interactions", "log_order", "with_ticks"]

# Valid and test of a source that is already split; None for one log.
HeldOutPairs: TypeAlias = tuple[Interactions | None, Interactions | None] | None


def dataset(data: RawParts | pl.DataFrame) -> tuple[Dataset, HeldOutPairs]:
    """Number the ids, and return the interactions in row numbers.

    Ids are numbered in the order of the log. If the format numbers its ids, ids of its range
    without interactions follow. The vocabularies cover all parts. Pairs are sorted by user, item
    and time.

    Args:
        data: a frame of one log, or the parts of a source.

    Returns:
        The Dataset of everything, or of the train part; and (valid, test) of a source that is
        already split, None for one log.

    Raises:
        InputError: the train part is missing.
    """
    parts = RawParts(all=data) if isinstance(data, pl.DataFrame) else data
    if parts.all is None and parts.train is None:
        raise InputError("the train part is missing", place="[data]", remedy="give train")
    frames, unit = with_ticks(parts.frames)
    orders = {name: log_order(frame, parts.in_file_order) for name, frame in frames.items()}
    users = _vocab(frames, orders, "user", parts.users)
    items = _vocab(frames, orders, "item", parts.items)
    sessions = _sessions(frames, orders)
    named = [frame["behaviour"] for frame in frames.values() if "behaviour" in frame.columns]
    # The parts share one numbering of behaviours.
    behaviours = Vocab.of(pl.concat(named), "behaviour") if named else None
    tied = parts.in_file_order and any(has_ties(frames[name], orders[name]) for name in frames)
    pairs = {}
    start = 0
    for name, frame in frames.items():
        order = np.arange(start, start + frame.height) if tied else None
        pairs[name] = interactions(
            frame, users, items, behaviours, sessions=sessions, unit=unit, order=order
        )
        start += frame.height
    if parts.all is not None:
        return Dataset(pairs["all"], users, items, history=parts.history, sessions=sessions), None
    train = Dataset(pairs["train"], users, items, history=parts.history, sessions=sessions)
    return train, (pairs.get("valid"), pairs.get("test"))


def interactions(
    frame: pl.DataFrame,
    users: Vocab,
    items: Vocab,
    behaviours: Vocab | None = None,
    *,
    sessions: Vocab | None = None,
    unit: Unit = "s",
    order: np.ndarray | None = None,
) -> Interactions:
    """Return the rows of a frame in row numbers, sorted by user, item and time.

    Args:
        frame: user, item and optional columns; `time` as Datetime, or as integers of `unit`.
        users, items: the vocabularies.
        behaviours: names of the behaviours; None: those of the frame.
        sessions: ids of the sessions; None: do not read them.
        unit: of times that are integers.
        order: row of each interaction in the source [n], if equal times have an order.

    Raises:
        InputError: an id that is not in a vocabulary.
    """
    columns: dict[str, Any] = {
        "user": users.require(frame["user"]),
        "item": items.require(frame["item"]),
    }
    if "time" in frame.columns:
        if isinstance(frame["time"].dtype, pl.Datetime):
            (columns["time"],), unit = count_ticks([frame["time"]])
        else:
            columns["time"] = frame["time"].to_numpy()
    if order is not None:
        columns["order"] = order
    for name in ("weight", "clean", "clicked", "position"):
        if name in frame.columns:
            columns[name] = frame[name].to_numpy()
    names: tuple[str, ...] = ()
    if "behaviour" in frame.columns:
        vocab = behaviours or Vocab.of(frame["behaviour"], "behaviour")
        names = tuple(str(name) for name in vocab.ids)
        columns["behaviour"] = vocab.rows(frame["behaviour"])
    if sessions is not None and "session" in frame.columns:
        columns["session"] = sessions.require(frame["session"])
    key = columns["user"].astype(np.int64) * len(items) + columns["item"]
    if len(key) > 1 and not (key[1:] > key[:-1]).all():
        rows = np.argsort(key, kind="stable")
        if "time" in columns and (key[rows[1:]] == key[rows[:-1]]).any():
            rows = np.lexsort((columns["time"], key))
        columns = {name: values[rows] for name, values in columns.items()}
    return Interactions(
        **columns,
        n_users=len(users),
        n_items=len(items),
        behaviours=names,
        time_unit=unit if "time" in columns else "s",
    )


def with_ticks(frames: dict[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], Unit]:
    """Return the frames with times as integers of one unit, and the unit."""
    timed = [name for name, frame in frames.items() if "time" in frame.columns]
    ticks, unit = count_ticks([frames[name]["time"] for name in timed])
    changed = {
        name: frames[name].with_columns(pl.Series("time", values))
        for name, values in zip(timed, ticks, strict=True)
    }
    return frames | changed, unit


def log_order(frame: pl.DataFrame, in_file_order: bool) -> np.ndarray | None:
    """Return the rows of a frame in the order of the log [n]; None if they already are.

    Args:
        frame: with times as integers, if there are any.
        in_file_order: whether the order of the rows has a meaning.
    """
    order = None
    if not in_file_order:
        hashes = hash_pairs(hash_ids(frame["user"]), hash_ids(frame["item"]))
        order = np.argsort(hashes, kind="stable")
    if "time" not in frame.columns:
        return order
    time = frame["time"].to_numpy()
    if order is None:
        is_sorted = not (time[1:] < time[:-1]).any()
        return None if is_sorted else np.argsort(time, kind="stable")
    return order[np.argsort(time[order], kind="stable")]


def has_ties(frame: pl.DataFrame, order: np.ndarray | None) -> bool:
    """Return whether two rows of a log have the same time.

    Args:
        frame: with times as integers, if there are any.
        order: as from `log_order`.
    """
    if "time" not in frame.columns:
        return False
    time = frame["time"].to_numpy()
    ordered = time if order is None else time[order]
    return bool((ordered[1:] == ordered[:-1]).any())


def _sessions(
    frames: dict[str, pl.DataFrame], orders: dict[str, np.ndarray | None]
) -> Vocab | None:
    """Return the ids of the sessions of all parts that have some; None if no part has."""
    named = {name: frame for name, frame in frames.items() if "session" in frame.columns}
    return _vocab(named, orders, "session", None) if named else None


def _vocab(
    frames: dict[str, pl.DataFrame],
    orders: dict[str, np.ndarray | None],
    role: str,
    numbered: range | None,
) -> Vocab:
    """Return the ids of all parts, one part after the other, each in the order of its log.

    Args:
        frames: the parts.
        orders: as from `log_order`.
        role: "user", "item" or "session".
        numbered: ids that exist even without interactions, if the format numbers its ids.
    """
    columns = [
        frame[role] if (order := orders[name]) is None else frame[role].gather(order)
        for name, frame in frames.items()
    ]
    ids = pl.concat([column.unique(maintain_order=True) for column in columns])
    if numbered is not None:
        everything = np.arange(numbered.start, numbered.stop, dtype=np.int64)
        ids = pl.concat([ids.cast(pl.Int64), pl.Series(ids.name, everything)])
    return Vocab(ids.drop_nulls().unique(maintain_order=True).alias(role), role)
