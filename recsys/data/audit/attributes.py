"""Attributes of users and items: gaps, columns that identify rows, columns that know the answers.

What is checked of an attribute that leaks: whether the rows that have it share answers of the
held-out part which they do not share in train. An attribute made of the held-out interactions, such
as "bought this in the last month", shows there. One that follows the answers only loosely, or was
made of train and test alike, does not: find out when each attribute was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use
import scipy.sparse as sp

from recsys.data.features.attribute_table import AttributeTable
from recsys.data.finding import Finding
from recsys.data.types import FeatureTable, Interactions

__all__ = ["attribute_findings"]

_COLUMNS = 2_000  # columns looked at, the most frequent ones
_FEW = 5  # interactions of a column and an item that a test needs
_P = 1e-3  # probability of a false alarm, over all tests
_EFFECT = 0.2  # how much larger the held-out share must be than expected


def attribute_findings(
    train: Interactions,
    name: str,
    asked: Interactions,
    tables: Mapping[str, FeatureTable],
    side: Literal["user", "item"],
    *,
    by_chance: bool,
) -> list[Finding]:
    """Check every table of attributes of one side.

    Args:
        train: the training interactions.
        name: of the held-out part, in messages.
        asked: the held-out interactions.
        tables: tables of that side by name; dense ones are not checked here.
        side: whose attributes they are.
        by_chance: whether the parts were split at random.

    Returns:
        Three findings per table: gaps, columns of one row, answers.
    """
    findings = []
    for table_name, table in tables.items():
        if not isinstance(table, AttributeTable):
            continue
        label = f"{side} feature {table_name}"
        findings += [
            _gaps(label, table, side),
            _single_rows(label, table, side),
            _answers(label, table, train, name, asked, side, by_chance=by_chance),
        ]
    return findings


def _gaps(label: str, table: AttributeTable, side: str) -> Finding:
    missing = int((~table.present).sum())
    message = f"{missing:,} of {len(table.present):,} {side}s have no attribute"
    wide = [f"{name} {share:.0%}" for name, share in table.gaps.items() if share > 0.5]
    if wide:
        message += f"; mostly missing: {', '.join(wide[:5])}"
    if 2 * missing > len(table.present):
        remedy = "check the ids of the table, or expect little of it"
        return Finding(f"{label}: gaps", "warning", missing, message, remedy)
    return Finding(f"{label}: gaps", "ok", missing, message)


def _single_rows(label: str, table: AttributeTable, side: str) -> Finding:
    """Look for columns that one row has: they say which row it is, and hold nothing shared."""
    check = f"{label}: columns of one row"
    counts = np.bincount(table.matrix.indices, minlength=table.dim)
    single = int((counts == 1).sum())
    message = f"{single:,} of {table.dim:,} columns belong to one {side} each"
    if 2 * single <= table.dim or single < _FEW:
        return Finding(check, "ok", single, message)
    return Finding(
        check,
        "warning",
        single,
        f"{message}: they identify {side}s, and a new one shares nothing with them",
        "leave the column out, or make its values coarser",
    )


def _answers(
    label: str,
    table: AttributeTable,
    train: Interactions,
    name: str,
    asked: Interactions,
    side: Literal["user", "item"],
    *,
    by_chance: bool,
) -> Finding:
    """Look for columns whose rows share held-out answers that they do not share in train.

    Of the interactions of an item with the users that have an attribute, the held-out share is
    compared with that of the item, times that of these users over all (a binomial test, with the
    level divided by the number of tests). Sides are exchanged for attributes of items.
    """
    check = f"{label}: answers"
    before, held = _matrix(train, side), _matrix(asked, side)
    indicator = _indicators(table)
    if not indicator.shape[1]:
        return Finding(check, "ok", 0, "not checked: 5 rows or more share a column nowhere")
    turned = indicator.T.tocsr()
    both = (turned @ (before + held)).tocoo()
    tested = both.data >= _FEW
    column, other = both.row[tested], both.col[tested]
    total = both.data[tested]
    if not len(total):
        return Finding(check, "ok", 0, "not checked: no column shares an answer with 5 rows")
    answered = np.asarray((turned @ held).tocsr()[column, other]).ravel()
    share_of_other = _share(before.sum(0), held.sum(0))
    share_of_column = _share(turned @ before.sum(1), turned @ held.sum(1))
    whole = held.sum() / max(1.0, before.sum() + held.sum())
    expected = np.clip(share_of_other[other] * share_of_column[column] / whole, 0, 1)
    p = scipy.stats.binom.sf(answered - 1, total, expected)
    leaks = (p < _P / len(p)) & (answered / total > expected + _EFFECT)
    message = f"{len(p):,} pairs of a column and an answer compared"
    if not leaks.any():
        return Finding(check, "ok", 0, f"{message}, all within what is expected")
    columns = np.unique(column[leaks])
    names = [table.columns[index] for index in _chosen(table)[columns[:3]]]
    message = (
        f"rows with {' or '.join(repr(each) for each in names)} share answers of {name} that they "
        f"do not share in train ({len(columns):,} of {indicator.shape[1]:,} columns)"
    )
    severity: Literal["error", "warning"] = "error" if by_chance else "warning"
    remedy = f"find out when it was recorded; leave it out if {name} pairs had a part"
    return Finding(check, severity, len(columns), message, remedy)


def _matrix(pairs: Interactions, side: str) -> sp.csr_matrix:
    """Return the interactions as counts, with a row for each user or item of the side."""
    matrix = pairs.csr if side == "user" else pairs.csr.T
    return sp.csr_matrix(matrix, dtype=np.float64)


def _chosen(table: AttributeTable) -> np.ndarray:
    """Return the columns that several but not most rows have, the most frequent ones."""
    counts = np.bincount(table.matrix.indices, minlength=table.dim)
    usable = np.flatnonzero((counts >= _FEW) & (2 * counts <= table.matrix.shape[0]))
    return np.sort(usable[np.argsort(-counts[usable], kind="stable")[:_COLUMNS]])


def _indicators(table: AttributeTable) -> sp.csr_matrix:
    columns = sp.csc_matrix(table.matrix)[:, _chosen(table)]
    columns.data = np.ones_like(columns.data, dtype=np.float64)
    return sp.csr_matrix(columns)


def _share(before: np.ndarray, held: np.ndarray) -> np.ndarray:
    first, second = np.asarray(before).ravel(), np.asarray(held).ravel()
    share: np.ndarray = second / np.maximum(first + second, 1e-12)
    return share
