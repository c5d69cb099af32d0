"""Notes of `recsys recommend` about queries and items that the model cannot place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from recsys.serving.asked import Asked
    from recsys.serving.recommender import Recommender

__all__ = ["note", "note_lists"]


def note(text: str) -> None:
    """Print a line about what was done, apart from the results."""
    typer.echo(f"recsys: {text}", err=True)


def note_lists(
    asked: Asked,
    recommender: Recommender,
    lists: int,
    popular: int,
    note: Callable[[str], object] = note,
) -> None:
    """Print which items are left out, which queries have no list of the model, and why.

    Args:
        asked: the queries.
        recommender: what answered them.
        lists: number of queries with a list.
        popular: number of queries with a list of popular items.
        note: prints a line.
    """
    unplaced = recommender.unplaced_items
    if unplaced.any():
        note(
            f"{unplaced.sum():,} of {len(unplaced):,} items have no training pair, and this "
            "method cannot place them: no candidates; --unmet ranks them all the same"
        )
    skips = recommender.request.unknown == "skip"
    treated = "left out" if skips else "ranked by popularity"
    # An id may be asked for twice; it counts once.
    first = asked.ids.is_first_distinct().to_numpy()
    total = int(first.sum())
    of = f"of {total:,} {asked.plural}"
    for each in asked.unanswered:
        if count := int((each.where & first).sum()):
            note(f"{count:,} {of} {each.why}, {each.example(asked.ids)}: {treated}")
    unanswered = int((~asked.answered & first).sum())
    flat = 0 if skips else max(0, popular - unanswered)
    if flat:
        note(f"{flat:,} {of} get the same score for every candidate: {treated}")
    without = total - lists - (unanswered if skips else 0)
    if without:
        why = "no item is left for them"
        if skips:
            why += ", or all have the same score"
        note(f"{without:,} {of} get nothing: {why}")
