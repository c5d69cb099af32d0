"""Auxiliary behaviours in row numbers: events that methods may learn from, without a query.

A view or a cart is evidence of what a user will buy, but not a purchase. The pairs hold the
target; the events of the other behaviours are kept apart, over the same users and items.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from recsys.data.numbering import interactions, with_ticks
from recsys.data.raw_parts import RawParts, with_ids_of_one_type
from recsys.data.reading.source import Source
from recsys.data.types import Dataset, Vocab

__all__ = ["with_auxiliary"]


def with_auxiliary(data: Dataset, parts: RawParts, source: Source) -> Dataset:
    """Return the data set with the events of the auxiliary behaviours, if the settings name some.

    Events of users and items without a pair are left out, because the vocabularies lack them; so
    are those in files of valid and test. A line of the history gives their numbers.

    Args:
        data: the pairs.
        parts: the prepared interactions that `data` was made of.
        source: the settings.
    """
    if not source.auxiliary:
        return data
    names = Vocab(pl.Series("behaviour", list(source.auxiliary)), "behaviour")
    own = "all" if parts.all is not None else "train"
    frame = parts.auxiliary[own].drop("session", "clean", strict=False)
    frame = _like(frame, data)
    frames, unit = with_ticks({own: frame})
    known = (data.users.rows(frame["user"]) >= 0) & (data.items.rows(frame["item"]) >= 0)
    order = np.arange(frame.height)[known] if parts.in_file_order else None
    events = interactions(
        frames[own].filter(pl.Series(known)),
        data.users,
        data.items,
        names,
        unit=unit,
        order=order,
    )
    held = sum(each.height for name, each in parts.auxiliary.items() if name != own)
    counts = np.bincount(events.behaviour, minlength=len(names))  # type: ignore[arg-type]
    each = ", ".join(
        f"{count} {name}" for name, count in zip(source.auxiliary, counts.tolist(), strict=True)
    )
    note = f"auxiliary: {each}"
    if n_unknown := int((~known).sum()):
        note += f"; {n_unknown} of users or items without a pair left out"
    if held:
        note += f"; {held} in files of valid and test left out"
    return replace(data, auxiliary=events, history=(*data.history, note))


def _like(frame: pl.DataFrame, data: Dataset) -> pl.DataFrame:
    """Return events whose ids have the type of the vocabularies."""
    ids = pl.DataFrame([data.users.ids.head(0).alias("user"), data.items.ids.head(0).alias("item")])
    return with_ids_of_one_type([ids, frame])[1]
