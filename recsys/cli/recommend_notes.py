"""Notes of `recsys recommend` about users and items that the model cannot place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from recsys.data.types import Dataset

__all__ = ["Answered", "note_near_misses", "note_users_and_items"]


@dataclass(frozen=True)
class Answered:
    """What the model cannot place, and what is done about it.

    Args:
        unknown_users: users of the run that the model cannot place; bool [n_users].
        unplaced_items: items that are left out of the candidates for this reason; bool [n_items].
        skips: whether such users are skipped; else they receive popular items.
    """

    unknown_users: np.ndarray
    unplaced_items: np.ndarray
    skips: bool


def note_near_misses(new: pl.Series, train: Dataset) -> None:
    """Print a note if the id of a new item is written almost as that of a known one."""
    from recsys.data.unmatched import near_miss

    if (near := near_miss(new, train.items.ids)) is not None:
        typer.echo(f"recsys: item {near[0]!r} counts as new, while {near[1]!r} is known", err=True)


def note_users_and_items(
    requested: pl.Series, train: Dataset, answered: Answered, lists: int, popular: int
) -> None:
    """Print which items are left out, which users have no list of the model, and why.

    Args:
        requested: ids of the users to serve.
        train: the training data of the run.
        answered: what the model cannot place.
        lists: number of users with a list.
        popular: number of users with a list of popular items.
    """
    from recsys.data.unmatched import such_as

    unplaced = answered.unplaced_items
    if unplaced.any():
        _note(
            f"{unplaced.sum():,} of {train.n_items:,} items have no training pair, and this "
            "method cannot place them: no candidates; --unmet ranks them all the same"
        )
    users = requested.unique(maintain_order=True)
    rows = train.users.rows(users)
    placed = rows >= 0
    placed[placed] = ~answered.unknown_users[rows[placed]]
    treated = "left out" if answered.skips else "ranked by popularity"
    for selected, why in (
        (rows < 0, "unknown to the run"),
        ((rows >= 0) & ~placed, "without a training pair"),
    ):
        if selected.any():
            some = users.filter(selected)
            example = f"such as {some[0]!r}"
            if (rows[selected] < 0).all():
                example = such_as(some, train.users)
            _note(f"{selected.sum():,} of {len(users):,} users {why}, {example}: {treated}")
    unplaced_users = int((~placed).sum())
    flat = 0 if answered.skips else max(0, popular - unplaced_users)
    if flat:
        _note(f"{flat:,} of {len(users):,} users get the same score for every candidate: {treated}")
    without = len(users) - lists - (unplaced_users if answered.skips else 0)
    if without:
        why = "no item is left for them"
        if answered.skips:
            why += ", or all have the same score"
        _note(f"{without:,} of {len(users):,} users get nothing: {why}")


def _note(text: str) -> None:
    typer.echo(f"recsys: {text}", err=True)
