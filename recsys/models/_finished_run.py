"""The scorers that a blend or a fallback is made of: finished runs, and methods without gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError, first_line, suggest
from recsys.models import Network, names, recipe
from recsys.scorer import Scorer
from recsys.tensors import load_scorer

__all__ = ["part_of"]


def part_of(given: str, train: Dataset, place: str) -> Scorer:
    """The scorer of a finished run, or of a method without gradients built on the spot.

    Args:
        given: folder of the run, or name of the method.
        train: what it has learned from, or is to learn from.
        place: the key, for messages.

    Raises:
        InputError: neither of the two, a method that has to be trained, a run of other data.
    """
    if given in names():
        built = recipe(given)().build(train)
        if isinstance(built, Network):
            cause = f"'{given}' has to be trained, and a blend trains nothing"
            raise InputError(
                cause, place=place, remedy="run it by itself, and give the folder of its run"
            )
        return built
    folder = Path(given).expanduser()
    if not (folder / "scorer.safetensors").exists():
        cause = f"'{given}' is neither the folder of a finished run nor a method"
        raise InputError(
            cause,
            place=place,
            remedy=suggest(given, names()) if "/" not in given else "check the path",
        )
    _check_learned(folder, train, place)
    scorer, _ = load_scorer(folder / "scorer.safetensors")
    return scorer


def _check_learned(folder: Path, train: Dataset, place: str) -> None:
    """Refuse a run whose users, items or pairs are not those of the training data."""
    try:
        users, items, seen = (
            pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "items", "seen")
        )
        theirs = [Vocab(frame["id"], name) for frame, name in ((users, "user"), (items, "item"))]
        keys = np.unique(
            seen["user"].to_numpy().astype(np.int64) * train.n_items + seen["item"].to_numpy()
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        cause = f"the run in '{folder}' cannot be read: {first_line(error)}"
        raise InputError(
            cause, place=place, remedy="the run is damaged: restore it, or run again"
        ) from None
    other = [
        (own, here)
        for own, here in zip(theirs, (train.users, train.items), strict=True)
        if own.fingerprint != here.fingerprint
    ]
    if other:
        sizes = f"{len(users)} x {len(items)}, here {train.n_users} x {train.n_items}"
        alike = (len(users), len(items)) == (train.n_users, train.n_items)
        cause = f"the run in '{folder}' is of other users or items ({_difference(*other[0]) if alike else sizes})"
    elif not np.array_equal(keys, own := np.unique(train.pairs.key)):
        both = len(np.intersect1d(keys, own, assume_unique=True))
        cause = f"the run in '{folder}' has learned from other pairs ({len(keys)}, here {len(own)}, {both} in both)"
    else:
        return
    raise InputError(
        cause, place=place, remedy="give runs with the same [data] and [split], and without refit"
    )


def _difference(theirs: Vocab, here: Vocab) -> str:
    """How two vocabularies of the same size differ: an id that only the first has, where there is one."""
    if theirs.ids.dtype != here.ids.dtype:
        return f"its {theirs.name} ids are {theirs.ids.dtype}, here {here.ids.dtype}"
    unknown = np.flatnonzero(here.rows(theirs.ids) < 0)
    return (
        f"its {theirs.name} {theirs.ids[int(unknown[0])]!r} is not here"
        if len(unknown)
        else f"its {theirs.name}s are in another order"
    )
