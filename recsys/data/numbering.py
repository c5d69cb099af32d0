"""From frames of outside ids to rows: vocabularies, the order of the log, and the Dataset made of them.

Ids are numbered in the order in which the log meets them: by time, equal times in the order of the file. So
nothing that draws by row or takes rows in turn depends on how an id is spelt, and a log whose times all
differ gives the same rows in whatever order its file is. A source without an order of its own, a matrix or
a folder of many files, takes a hash of user id and item id in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsys.data.hashing import hash_ids, hash_pairs
from recsys.data.reading.reader import Parts
from recsys.data.times import Unit, count_ticks
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError

__all__ = ["dataset", "interactions"]


def dataset(
    data: Parts | pl.DataFrame,
) -> tuple[Dataset, tuple[Interactions | None, Interactions | None] | None]:
    """Number the ids and return integer rows.

    Ids are numbered in the order of the log; where the format numbers its ids itself, those of its range that
    never occur follow. The vocabularies of presplit parts span all parts. Pairs are sorted by user, then item,
    then time.

    Args:
        data: a frame of one log, or parts.

    Returns:
        the Dataset over everything, or over the train part; and (valid, test) where the data is split already, else None.
    """
    parts = Parts(all=data) if isinstance(data, pl.DataFrame) else data
    if parts.all is None and parts.train is None:
        raise InputError("there is no train part", place="[data]", remedy="give train")
    frames, unit = _with_ticks(parts.frames)
    orders = {name: _log_order(frame, parts.in_file_order) for name, frame in frames.items()}
    users, items = (
        _vocab(frames, orders, role, numbered)
        for role, numbered in (("user", parts.users), ("item", parts.items))
    )
    named = [frame["behaviour"] for frame in frames.values() if "behaviour" in frame.columns]
    codes = Vocab.of(pl.concat(named), "behaviour") if named else None  # one numbering for all
    tied = parts.in_file_order and any(_has_ties(frames[name], orders[name]) for name in frames)
    pairs, start = {}, 0
    for name, frame in frames.items():
        position = np.arange(start, start + frame.height) if tied else None
        pairs[name] = interactions(frame, users, items, codes, unit=unit, position=position)
        start += frame.height
    main = "all" if parts.all is not None else "train"
    numbered = Dataset(pairs[main], users, items, history=parts.history)
    return numbered, None if main == "all" else (pairs.get("valid"), pairs.get("test"))


def interactions(
    frame: pl.DataFrame,
    users: Vocab,
    items: Vocab,
    codes: Vocab | None = None,
    *,
    unit: Unit = "s",
    position: np.ndarray | None = None,
) -> Interactions:
    """Return the rows of a frame in the numbers of two vocabularies, sorted by user, item and time.

    Args:
        frame: user, item and more; `time` as moments, or as whole numbers of `unit`.
        users, items: the vocabularies.
        codes: of the behaviours; those of the frame where not given.
        unit: of times that are whole numbers.
        position: of each row in the source, where equal times have an order [n].

    Raises:
        InputError: an id that a vocabulary does not hold.
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
    if position is not None:
        columns["position"] = position
    for name in ("weight", "label"):
        if name in frame.columns:
            columns[name] = frame[name].to_numpy()
    names: tuple[str, ...] = ()
    if "behaviour" in frame.columns:
        vocab = codes or Vocab.of(frame["behaviour"], "behaviour")
        names = tuple(str(name) for name in vocab.ids)
        columns["behaviour"] = vocab.rows(frame["behaviour"])
    key = columns["user"].astype(np.int64) * len(items) + columns["item"]
    if len(key) > 1 and not (key[1:] > key[:-1]).all():
        order = np.argsort(key, kind="stable")
        if "time" in columns and (key[order[1:]] == key[order[:-1]]).any():
            order = np.lexsort((columns["time"], key))
        columns = {name: values[order] for name, values in columns.items()}
    return Interactions(
        **columns,
        n_users=len(users),
        n_items=len(items),
        behaviours=names,
        time_unit=unit if "time" in columns else "s",
    )


def _with_ticks(frames: dict[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], Unit]:
    """The frames with their times as whole numbers of one unit, which all parts share."""
    timed = [name for name, frame in frames.items() if "time" in frame.columns]
    ticks, unit = count_ticks([frames[name]["time"] for name in timed])
    changed = {
        name: frames[name].with_columns(pl.Series("time", values))
        for name, values in zip(timed, ticks, strict=True)
    }
    return frames | changed, unit


def _log_order(frame: pl.DataFrame, in_file_order: bool) -> np.ndarray | None:
    """The rows of a frame in the order of the log [n]; None where they stand in it already."""
    order = None
    if not in_file_order:
        hashes = hash_pairs(hash_ids(frame["user"]), hash_ids(frame["item"]))
        order = np.argsort(hashes, kind="stable")
    if "time" not in frame.columns:
        return order
    time = frame["time"].to_numpy()
    if order is None:
        ascending = not (time[1:] < time[:-1]).any()
        return None if ascending else np.argsort(time, kind="stable")
    return order[np.argsort(time[order], kind="stable")]


def _has_ties(frame: pl.DataFrame, order: np.ndarray | None) -> bool:
    """Whether two rows of a log have the same time."""
    if "time" not in frame.columns:
        return False
    time = frame["time"].to_numpy()
    ordered = time if order is None else time[order]
    return bool((ordered[1:] == ordered[:-1]).any())


def _vocab(
    frames: dict[str, pl.DataFrame],
    orders: dict[str, np.ndarray | None],
    role: str,
    numbered: range | None,
) -> Vocab:
    """The ids of all parts, one part after the other, each in the order of its log."""
    columns = [
        frame[role] if (order := orders[name]) is None else frame[role].gather(order)
        for name, frame in frames.items()
    ]
    if len({column.dtype for column in columns}) > 1:
        columns = [column.cast(pl.String) for column in columns]
    ids = pl.concat([column.unique(maintain_order=True) for column in columns])
    if numbered is not None:
        everything = np.arange(numbered.start, numbered.stop, dtype=np.int64)
        ids = pl.concat([ids.cast(pl.Int64), pl.Series(ids.name, everything)])
    return Vocab(ids.drop_nulls().unique(maintain_order=True).alias(role), role)
