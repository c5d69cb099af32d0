"""The order of data without times: the place of a row in its file serves as its time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from recsys.errors import InputError

__all__ = ["list_notes", "number_rows", "refuse_short_lists"]

# So many comparisons in a row do not come out alike by chance.
_ENOUGH = 30


def number_rows(frames: Mapping[str, pl.DataFrame], place: str) -> dict[str, pl.DataFrame]:
    """Return the parts of a log with the place of each row as its time.

    The rows of a later part follow those of the earlier ones.

    Args:
        frames: the parts, in their order.
        place: of the data, for errors.

    Raises:
        InputError: a part has times.
    """
    if any("time" in frame.columns for frame in frames.values()):
        raise InputError(
            "ordered has no effect, because the data have times",
            place=place,
            remedy='leave it out, or set time = "none" to take the order of the rows',
        )
    numbered = {}
    start = 0
    for part, frame in frames.items():
        time = np.arange(start, start + frame.height, dtype=np.int64)
        numbered[part] = frame.with_columns(pl.Series("time", time))
        start += frame.height
    return numbered


def refuse_short_lists(frames: Mapping[str, pl.DataFrame], place: str) -> None:
    """Raise an error about lists of one item each, which have no order.

    Args:
        frames: the parts.
        place: of the data, for errors.

    Raises:
        InputError: no list of any part has two items.
    """
    if all(not frame["user"].is_duplicated().any() for frame in frames.values()):
        raise InputError(
            "ordered has no effect, because no line has more than one item",
            place=place,
            remedy='leave it out; for one event per line, set format = "csv"',
        )


def list_notes(frame: pl.DataFrame, *, ordered: bool) -> list[str]:
    """Return notes on whether the items of a list have an order, and what speaks against it.

    A file of lists does not say it: the adjacency of LightGCN and the sequences of S3Rec look the
    same.

    Args:
        frame: user and item, the rows of one list after the other.
        ordered: whether the settings say that lists are in time order.
    """
    if not ordered:
        notes = ["lists without an order"]
        if _repeats(frame):
            notes.append("items repeat in a list, so set ordered = true if lists are in time order")
        return notes
    notes = ["lists in time order"]
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    ascends = (item[1:] > item[:-1])[user[1:] == user[:-1]]
    if len(ascends) >= _ENOUGH and ascends.all():
        notes.append("every list ascends, as if sorted by item: leave out ordered if they are")
    return notes


def _repeats(frame: pl.DataFrame) -> bool:
    """Return whether a pair of numbers occurs twice.

    One number per pair is faster to sort than two columns are to hash, and most files are sorted.
    """
    if not frame.height:
        return False
    item = frame["item"].to_numpy()
    pair = frame["user"].to_numpy() * (int(item.max()) + 1) + item
    if (pair[1:] > pair[:-1]).all():
        return False
    pair.sort()
    return bool((pair[1:] == pair[:-1]).any())
