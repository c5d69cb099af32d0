"""Users and items that come after training, served by a saved scorer. Nothing is trained.

A new item is scored by its features, if the method computes item vectors from features. A new user
is scored by their history, if scores are a function of it. Both give a scorer and a data set like
those of a run, only with more items or with other users, so that ranking works as before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.features import read_new_items
from recsys.data.ids import require_id_type
from recsys.data.load import load
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.scorer import FoldsIn, Scorer, TakesItems, require

__all__ = ["ExtendedScorer", "add_items", "fold_in", "read_items", "serve_users"]

_NEW_ITEMS = "rank new items"  # what the ability is needed for, in messages


@dataclass(frozen=True, eq=False)
class ExtendedScorer:
    """A scorer with more items, or of other users.

    Args:
        scorer: the new scorer.
        train: its ids, and the histories of its users; without features.
        new: outside ids of the new users or items.
        identity: SHA-256 of the new data.
        notes: which of the new data could not be used.
    """

    scorer: Scorer
    train: Dataset
    new: pl.Series
    identity: str
    notes: tuple[str, ...] = ()


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


def fold_in(scorer: Scorer, histories: sp.csr_matrix) -> Scorer:
    """Return the scorer of other users, known by their histories alone.

    Exact for neighbourhood and linear models, whose scores are the user's items times a matrix, and
    for popularity. The row solve of iALS gives the vectors of training once training has converged.
    Every other method has learned a vector per user, or keeps no network that reads a history.

    Args:
        scorer: the scorer of a run.
        histories: CSR [n, n_items] over the items of training; its pattern counts.

    Raises:
        InputError: another number of items, or a scorer that cannot serve new users.
    """
    if histories.shape[1] != scorer.n_items:
        raise InputError(
            f"histories over {histories.shape[1]} items, and the scorer has {scorer.n_items}",
            remedy="number items as in training",
        )
    return require(scorer, FoldsIn, "serve new users").fold_in(histories)


def serve_users(
    scorer: Scorer, train: Dataset, source: str | Path | pl.DataFrame
) -> ExtendedScorer:
    """Return the scorer of the users of a log, known by this log alone.

    Users of training among them are served by the log, too. Rows with items that were not in
    training are left out, and a note gives their number. A user with no other row stays, without an
    interaction.

    Args:
        scorer: the scorer of a run.
        train: its training data.
        source: interactions with outside ids, a file or a frame as `recsys.data.load` reads it,
            with columns `user` and `item`.

    Raises:
        InputError: the file cannot be read, none of its items was in training, or the scorer cannot
            serve new users.
    """
    data = load(source if isinstance(source, pl.DataFrame) else Path(source)).dataset
    items = train.items.rows(data.items.ids)
    if (items < 0).all():
        train.items.require(data.items.ids, "new users")
    kept = items[data.pairs.item] >= 0
    pairs = Interactions(
        data.pairs.user[kept], items[data.pairs.item[kept]], data.n_users, train.n_items
    )
    served = Dataset(pairs, data.users, train.items, titles=train.titles, learned=train.item_counts)
    notes: tuple[str, ...] = ()
    if not kept.all():
        strange = np.flatnonzero(items < 0)
        notes = (
            f"{len(strange):,} of {len(items):,} items of the new users unknown to the run, "
            f"such as {data.items.ids[int(strange[0])]!r}: "
            f"{(~kept).sum():,} of {len(kept):,} rows left out",
        )
    folded = fold_in(scorer, pairs.csr)
    return ExtendedScorer(folded, served, data.users.ids, served.fingerprint, notes)


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
