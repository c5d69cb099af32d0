"""Blend: two finished methods, every item ranked by a weighted sum of their standardised scores.

Symbols: s1 and s2 are the scores of the two methods, and z a user's scores brought onto a common scale over all items (`scale`). Score:

    s(u, i) = share * z(s1(u, .))_i + (1 - share) * z(s2(u, .))_i.

Sources: Fox, Shaw, "Combination of multiple searches", TREC-2, 1994; Montague, Aslam, "Relevance score normalization for metasearch", CIKM 2001;
Aslam, Montague, "Models for metasearch", SIGIR 2001, for ranks. Reproduces nothing published.

Each of the two is the folder of a finished run, or the name of a method without gradients, which is built with its defaults:

    [model]
    name = "blend"
    first = "runs/lightgcn"
    second = "runs/itemknn"

This way `recsys run` evaluates a blend, `recsys tune` searches `model.share`, and its own run holds both scorers whole: `verify` and `recommend` need
the two folders no more. Networks are not trained within a blend: each has its own stream of batches, its own epochs and its own best one, and a run
is where these are decided. A run has to have learned from the very pairs that the blend is built on: one that has met the validation pairs would be
judged by what it knows, so `refit` and blends do not go together. In Python, scorers at hand are joined without files:
`recsys.scorer.Blend((one.scorer, other.scorer), (0.7, 0.3))`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl

from recsys import scorer as joined
from recsys.config import Bound, settings
from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError, first_line, suggest
from recsys.models import Network, names, recipe
from recsys.scorer import Scorer
from recsys.scorer.blend import Standard
from recsys.tensors import load_scorer

__all__ = ["Blend", "part_of"]


@settings
class Blend:
    """Two finished methods, each item by a weighted sum of both on a common scale (Fox, Shaw, 1994)."""

    first: str = "ials"
    """Folder of a finished run, from the working folder, or name of a method without gradients; a folder with the name of a method is ./NAME."""
    second: str = "itemknn"
    """The other, likewise."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of the first; the second has the rest."""
    scale: Standard = "zscore"
    """zscore: a user's scores less their mean, over their standard deviation. rank: the share of items that score lower."""

    def build(self, train: Dataset) -> joined.Blend:
        parts = (
            part_of(self.first, train, "[model] first"),
            part_of(self.second, train, "[model] second"),
        )
        return joined.Blend(parts, (self.share, 1 - self.share), self.scale)


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
