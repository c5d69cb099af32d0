"""Rows of a table whose id is not in the log: how many there are, and a likely reason.

The tables are those that come with a log, such as titles and item features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from recsys.data.finding import Finding, Severity
from recsys.data.types import Vocab

# Receives each finding about rows that did not fit.
Tell: TypeAlias = Callable[[Finding], None]

__all__ = ["Tell", "near_miss", "such_as", "tell_unmatched", "unmatched"]


def unmatched(
    ids: pl.Series, vocab: Vocab, check: str, table: str, rows: np.ndarray | None = None
) -> Finding | None:
    """Return a finding about rows whose id is not in the data; None if every row has one.

    A table may hold more items than the log. So the finding is a warning only if an unknown id
    differs from a known one in its spelling, such as `7` and `007`, or if more than half of the
    known ids have no row.

    Args:
        ids: id of each row of the table [n].
        vocab: the ids of the data.
        check: name of the check.
        table: name of the table.
        rows: row of each id in the vocabulary [n], -1 if unknown, if already computed.
    """
    rows = vocab.rows(ids) if rows is None else rows
    unknown = ids.filter(pl.Series(rows < 0)).unique(maintain_order=True)
    if not len(unknown):
        return None
    covered = len(np.unique(rows[rows >= 0]))
    near = near_miss(unknown, _without_row(vocab, rows))
    severity: Severity = "warning" if near is not None or 2 * covered < len(vocab) else "ok"
    count = int((rows < 0).sum())
    verb = "belongs" if count == 1 else "belong"
    message = (
        f"{count:,} of {len(ids):,} rows of {table} {verb} to no {vocab.name} of the data, "
        f"{_example(unknown, near)}"
    )
    return Finding(check, severity, count, message, "write ids as the log has them" if near else "")


def such_as(unknown: pl.Series, vocab: Vocab) -> str:
    """Return an example of unknown ids, such as "such as 7, while '007' is one".

    Args:
        unknown: ids that are not in the vocabulary, at least one.
        vocab: the ids of the data.
    """
    return _example(unknown, near_miss(unknown, vocab.ids))


def near_miss(unknown: pl.Series, ids: pl.Series) -> tuple[object, object] | None:
    """Return the first unknown id that differs from a known id only in spelling, and the known id.

    Zeros in front, blanks, quotes, upper case and a `.0` at the end are differences in spelling.

    Args:
        unknown: ids that are not in the data.
        ids: ids of the data.
    """
    known = pl.DataFrame({"id": ids, "plain": _plain(ids)}).unique("plain", keep="first")
    candidates = pl.DataFrame({"unknown": unknown, "plain": _plain(unknown)})
    matched = candidates.join(known, on="plain", how="inner", maintain_order="left")
    return (matched["unknown"][0], matched["id"][0]) if matched.height else None


def _without_row(vocab: Vocab, rows: np.ndarray) -> pl.Series:
    """Return the known ids without a row; an id that has a row is not misspelt in another."""
    is_free = np.ones(len(vocab), dtype=bool)
    is_free[rows[rows >= 0]] = False
    return vocab.ids.filter(pl.Series(is_free))


def _plain(ids: pl.Series) -> pl.Series:
    """Return ids as text without the differences in spelling that programs introduce."""
    return (
        ids.cast(pl.String, strict=False)
        .str.strip_chars(" \t\r\n\"'\ufeff")
        .str.to_lowercase()
        .str.replace(r"\.0+$", "")
        .str.replace(r"^0+(.)", "$1")
    )


def _example(unknown: pl.Series, near: tuple[object, object] | None) -> str:
    if near is None:
        return f"such as {unknown[0]!r}"
    return f"such as {near[0]!r}, while {near[1]!r} is one"


def tell_unmatched(
    tell: Tell | None,
    ids: pl.Series,
    items: Vocab,
    what: str,
    place: str,
    rows: np.ndarray | None = None,
) -> None:
    """Report the rows of a table whose id is not an item of the data.

    Args:
        tell: receives the finding; None to report nothing.
        ids: id of each row of the table [n].
        items: the items of the data.
        what: what the table holds, such as "titles".
        place: path or name of the table.
        rows: row of each id in the vocabulary [n], -1 if unknown, if already computed.
    """
    if tell is None:
        return
    name = Path(place).name if "/" in place else place
    if (finding := unmatched(ids, items, f"ids of {what}", name, rows)) is not None:
        tell(finding)
