"""Interactions as they were read, with external ids, before they are prepared and numbered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from recsys.data.ids import unify_id_types

__all__ = ["RawLog", "RawParts"]

_PARTS = ("all", "train", "valid", "test")


@dataclass(frozen=True, eq=False)
class RawLog:
    """The interactions of one file. This is what the reader of a format returns.

    Args:
        frame: one row per interaction. Columns `user` and `item`; `time`, `weight`, `clean`,
            `behaviour` and `session` where the file has them; `part` ("train", "valid" or "test")
            where one file holds several parts.
        users, items: the ids that exist, if the format numbers its ids, such as the rows and
            columns of a matrix. Ids without interactions are included. None: the ids that occur.
        notes: what was guessed, changed or left out.
    """

    frame: pl.DataFrame
    users: range | None = None
    items: range | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RawParts:
    """The interactions of a source: one log, or a split of train, valid and test.

    Each frame has the columns `user` and `item` (Int64 or String) and, where known, `time`
    (Datetime), `weight` (Float64), `clean` (Int8), `behaviour` (String) and `session`. Ids have the
    same type in all frames: a type that differs between files becomes text.

    Args:
        all: one log; None for a source that is already split.
        train, valid, test: the parts of a source that is already split; each may be None.
        users, items: the ids that exist, as in `RawLog`; None: the ids that occur.
        history: what was read and guessed, one line a step.
        logs: every event of each part, before rows were left out or merged, if they are kept.
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

    def __post_init__(self) -> None:
        frames = self.frames
        for role in ("user", "item", "session"):
            names = [name for name, frame in frames.items() if role in frame.columns]
            columns = [frames[name][role] for name in names]
            if len({column.dtype for column in columns}) > 1:
                for name, column in zip(names, unify_id_types(columns), strict=True):
                    frames[name] = frames[name].with_columns(column)
        for name, frame in frames.items():
            object.__setattr__(self, name, frame)

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The frames that exist, by the name of the part."""
        return {name: frame for name in _PARTS if (frame := getattr(self, name)) is not None}
