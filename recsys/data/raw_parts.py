"""Interactions as they were read, with external ids, before they are prepared and numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from recsys.data.ids import unify_id_types

__all__ = ["RawLog", "RawParts", "with_ids_of_one_type"]

_PARTS = ("all", "train", "valid", "test")


@dataclass(frozen=True, eq=False)
class RawLog:
    """The interactions of one file. This is what the reader of a format returns.

    Args:
        frame: one row per interaction. Columns `user` and `item`; `time`, `weight`, `clean`,
            `behaviour`, `session`, `clicked` and `position` where the file has them; `part`
            ("train", "valid" or "test") where one file holds several parts.
        users, items: the ids that exist, if the format numbers its ids, such as the rows and
            columns of a matrix. Ids without interactions are included. None: the ids that occur.
        notes: what was guessed, changed or left out.
        histories: the rows of each user are a whole history in time order. In a source that is
            already split, a later part begins with the events of the earlier ones.
    """

    frame: pl.DataFrame
    users: range | None = None
    items: range | None = None
    notes: tuple[str, ...] = ()
    histories: bool = False


@dataclass(frozen=True, eq=False)
class RawParts:
    """The interactions of a source: one log, or a split of train, valid and test.

    Each frame has the columns `user` and `item` (Int64 or String) and, where known, `time`
    (Datetime), `weight` (Float64), `clean` (Int8), `behaviour` (String), `session`, `clicked`
    (Int8) and `position` (Int16). Ids have the same type in all frames: a type that differs between
    files becomes text.

    Args:
        all: one log; None for a source that is already split.
        train, valid, test: the parts of a source that is already split; each may be None.
        users, items: the ids that exist, as in `RawLog`; None: the ids that occur.
        history: what was read and guessed, one line a step.
        logs: every event of each part, before rows were left out or merged, if they are kept.
        auxiliary: every event of the auxiliary behaviours, by the part of the source.
        in_file_order: whether the order of the rows has a meaning. It has none in a matrix, nor in
            a folder of many files.
    """

    all: pl.DataFrame | None = None
    train: pl.DataFrame | None = None
    valid: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    users: range | None = None
    items: range | None = None
    history: tuple[str, ...] = ()
    in_file_order: bool = True
    logs: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    auxiliary: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = self.frames
        same = with_ids_of_one_type(list(frames.values()))
        for name, frame in zip(frames, same, strict=True):
            object.__setattr__(self, name, frame)

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The frames that exist, by the name of the part."""
        return {name: frame for name in _PARTS if (frame := getattr(self, name)) is not None}


def with_ids_of_one_type(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return frames of a log whose ids have the same type in all: text, if they differ."""
    same = list(frames)
    for role in ("user", "item", "session"):
        holders = [index for index, frame in enumerate(same) if role in frame.columns]
        columns = [same[index][role] for index in holders]
        if len({column.dtype for column in columns}) > 1:
            for index, column in zip(holders, unify_id_types(columns), strict=True):
                same[index] = same[index].with_columns(column)
    return same
