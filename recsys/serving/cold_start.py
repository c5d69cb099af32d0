"""Items that come after training, ranked by a saved scorer. Nothing is trained.

A new item is scored by its features, if the method computes item vectors from features. The result
is a scorer and a data set like those of a run, only with more items, so that ranking works as
before. New users are served by their histories (`recsys.serving.asked`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.features import read_new_items
from recsys.data.ids import require_id_type
from recsys.data.types import Dataset, FeatureTable, Vocab
from recsys.errors import InputError
from recsys.scorer import Scorer, TakesItems, require

__all__ = ["ExtendedScorer", "add_items", "read_items"]

_NEW_ITEMS = "rank new items"  # what the ability is needed for, in messages


@dataclass(frozen=True, eq=False)
class ExtendedScorer:
    """A scorer with more items.

    Args:
        scorer: the new scorer.
        train: its ids, and the histories of its users; without features.
        new: outside ids of the new items.
        identity: SHA-256 of the new items.
    """

    scorer: Scorer
    train: Dataset
    new: pl.Series
    identity: str


def read_items(
    path: str | Path, scorer: Scorer, encoders: Mapping[str, str] | None = None
) -> tuple[pl.Series, dict[str, FeatureTable]]:
    """Read new items and their features, in the modalities of the scorer's training.

    Args:
        path: file or folder, as `recsys.data.features.new_items` reads it.
        scorer: the scorer of a run.
        encoders: identity of the encoder of each modality in training, as in `Run.encoders`.

    Returns:
        Outside ids [n], and a table of n rows for each modality.

    Raises:
        InputError: the scorer cannot rank new items, the file does not hold items with these
            features, or the features come from another encoder.
    """
    able = require(scorer, TakesItems, _NEW_ITEMS)
    return read_new_items(path, able.reads(), encoders)


def add_items(
    scorer: Scorer, train: Dataset, ids: pl.Series, features: Mapping[str, FeatureTable]
) -> ExtendedScorer:
    """Return the scorer with items that were not in training at the end of its items.

    Args:
        scorer: the scorer of a run.
        train: its training data.
        ids: outside ids of the new items [n].
        features: a table of n rows for each modality of training.

    Returns:
        The larger scorer, and `train` with the new ids, without interactions and titles.

    Raises:
        InputError: the method, or a part of a joined one, cannot rank new items; an id that the run
            knows, a duplicate id, or an id of another type; a missing modality, or one of another
            dimension.
    """
    able = require(scorer, TakesItems, _NEW_ITEMS)
    _check_tables(able.reads(), len(ids), features)
    ids = require_id_type(ids, train.items.ids.dtype, "new items")
    _check_new(ids, train.items)
    larger = able.with_items(features)
    titles = train.titles
    if titles is not None:
        titles = pl.concat([titles, pl.Series(titles.name, [None] * len(ids), dtype=pl.String)])
    learned = None if train.learned is None else np.pad(train.learned, (0, len(ids)))
    items = Vocab(pl.concat([train.items.ids.alias("item"), ids.alias("item")]), train.items.name)
    pairs = replace(train.pairs, n_items=larger.n_items)
    dataset = Dataset(
        pairs,
        train.users,
        items,
        titles=titles,
        history=train.history,
        learned=learned,
        sessions=train.sessions,
    )
    return ExtendedScorer(larger, dataset, ids, _identity(ids, features))


def _identity(ids: pl.Series, features: Mapping[str, FeatureTable]) -> str:
    """Return the SHA-256 of new items and their features."""
    tables = [f"{name} {features[name].fingerprint}" for name in sorted(features)]
    return hashlib.sha256(" ".join([Vocab(ids).fingerprint, *tables]).encode()).hexdigest()


def _check_tables(reads: Mapping[str, int], n: int, features: Mapping[str, FeatureTable]) -> None:
    """Refuse features that lack a modality, or have another shape than [n, dimension]."""
    for name, dim in reads.items():
        table = features.get(name)
        if table is None:
            raise InputError(
                f"no features '{name}', which training had",
                place="new items",
                remedy="give them, or mark them as missing",
            )
        if table.values.shape != (n, dim):
            raise InputError(
                f"features '{name}' are {table.values.shape[0]} x {table.dim}, "
                f"and training had {dim} numbers for each of {n}",
                place="new items",
                remedy="compute them with the same encoder, a row per item",
            )


def _check_new(ids: pl.Series, items: Vocab) -> None:
    """Refuse ids that the run knows, and duplicate ids."""
    known = np.flatnonzero(items.rows(ids) >= 0)
    if len(known):
        raise InputError(
            f"item {ids[int(known[0])]!r} is not new: it was in training "
            f"({len(known)} of {len(ids)} were)",
            place="new items",
            remedy="leave it out: it is ranked already",
        )
    if ids.n_unique() < len(ids):
        raise InputError(
            f"duplicate item id {ids.filter(ids.is_duplicated())[0]!r}",
            place="new items",
            remedy="give each item once",
        )
