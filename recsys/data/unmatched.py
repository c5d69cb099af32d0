"""Rows of a table beside the log that belong to nothing in it: how many, which, and what they may have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.finding import Finding, Severity
from recsys.data.types import Vocab

Tell = Callable[[Finding], None]  # receives each finding about rows that did not fit

__all__ = ["Tell", "near_miss", "such_as", "tell_unmatched", "unmatched"]


def unmatched(
    ids: pl.Series, vocab: Vocab, check: str, table: str, rows: np.ndarray | None = None
) -> Finding | None:
    """Return what there is to say of rows whose id is none of the data; None where every row has one.

    A table may well hold more than the log, so this is a warning only where an id is nearly one of the data, such as
    `7` beside `007`, or where rows are left over while most of the data have none.

    Args:
        ids: of the rows of the table.
        vocab: of the data.
        check: what to call it.
        table: what the table is called.
        rows: of the ids in the vocabulary [n], where they are known already.
    """
    rows = vocab.rows(ids) if rows is None else rows
    strangers = ids.filter(pl.Series(rows < 0)).unique(maintain_order=True)
    if not len(strangers):
        return None
    covered = len(np.unique(rows[rows >= 0]))
    near = near_miss(strangers, _left(vocab, rows))
    severity: Severity = "warning" if near is not None or 2 * covered < len(vocab) else "ok"
    count = int((rows < 0).sum())
    verb = "belongs" if count == 1 else "belong"
    message = f"{count:,} of {len(ids):,} rows of {table} {verb} to no {vocab.name} of the data, {_example(strangers, near)}"
    return Finding(check, severity, count, message, "write ids as the log has them" if near else "")


def such_as(strangers: pl.Series, vocab: Vocab) -> str:
    """Return an example of ids that a vocabulary lacks, such as "such as 7, while '007' is one".

    Args:
        strangers: ids that are not in the vocabulary, at least one.
        vocab: of the data.
    """
    return _example(strangers, near_miss(strangers, vocab.ids))


def near_miss(strangers: pl.Series, ids: pl.Series) -> tuple[object, object] | None:
    """Return the first stranger that is an id but for zeros, blanks, quotes, case or `.0`, and that id.

    Args:
        strangers: ids that are none of `ids`.
        ids: those of the data.
    """
    known = pl.DataFrame({"id": ids, "plain": _plain(ids)}).unique("plain", keep="first")
    asked = pl.DataFrame({"stranger": strangers, "plain": _plain(strangers)})
    met = asked.join(known, on="plain", how="inner", maintain_order="left")
    return (met["stranger"][0], met["id"][0]) if met.height else None


def _left(vocab: Vocab, rows: np.ndarray) -> pl.Series:
    """The ids that no row has: an id that has its row is no near miss of another."""
    free = np.ones(len(vocab), dtype=bool)
    free[rows[rows >= 0]] = False
    return vocab.ids.filter(pl.Series(free))


def _plain(ids: pl.Series) -> pl.Series:
    """Ids as texts without what programs add and take away."""
    return (
        ids.cast(pl.String, strict=False)
        .str.strip_chars(" \t\r\n\"'\ufeff")
        .str.to_lowercase()
        .str.replace(r"\.0+$", "")
        .str.replace(r"^0+(.)", "$1")
    )


def _example(strangers: pl.Series, near: tuple[object, object] | None) -> str:
    if near is None:
        return f"such as {strangers[0]!r}"
    return f"such as {near[0]!r}, while {near[1]!r} is one"


def tell_unmatched(
    tell: Tell | None,
    ids: pl.Series,
    items: Vocab,
    what: str,
    place: str,
    rows: np.ndarray | None = None,
) -> None:
    """Tell of the rows of a table that belong to no item, where anybody wants to know and there are such."""
    if tell is None:
        return
    name = Path(place).name if "/" in place else place
    if (found := unmatched(ids, items, f"ids of {what}", name, rows)) is not None:
        tell(found)
