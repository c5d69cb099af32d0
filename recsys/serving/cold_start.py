"""Users and items that came after training, served by a scorer as it is saved: nothing is trained.

An item enters by its features, where the method makes an item's vector of them; a user by what the user has met, where scores are a function of that.
Both give a scorer and a data set as a run has them, only larger or of other users, and whatever ranks goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.features.new_items import arrivals
from recsys.data.ids import require_id_type
from recsys.data.load import load
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.scorer import Blend, Scorer, Sum
from recsys.scorer import feature_encoder as by_features
from recsys.scorer.als_fold_in import no_fold_in
from recsys.scorer.blend import folded_parts
from recsys.scorer.feature_encoder import numbered

__all__ = ["ExtendedScorer", "add_items", "fold_in", "read_items", "serve_users"]


@dataclass(frozen=True, eq=False)
class ExtendedScorer:
    """A scorer of more items, or of other users.

    Args:
        scorer: what ranks.
        train: the ids, and what the users have met; without features.
        new: outside ids of what came in.
        identity: SHA-256 of what came in.
        notes: what of it could not be used.
    """

    scorer: Scorer
    train: Dataset
    new: pl.Series
    identity: str
    notes: tuple[str, ...] = ()


def read_items(
    path: str | Path, scorer: Scorer, encoders: Mapping[str, str] | None = None
) -> tuple[pl.Series, dict[str, FeatureTable]]:
    """Items and their features from a file or folder, as `recsys.data.features.new_items` reads them, in the modalities of the scorer's training.

    Args:
        path: of the file or folder.
        scorer: of a run.
        encoders: id of what made the vectors of training by modality, as `Run.encoders` has them.

    Raises:
        InputError: the scorer makes no vectors of features, or the file is none of such items, or its vectors are another encoder's.
    """
    return arrivals(path, by_features.reads_of(scorer), encoders)


def add_items(
    scorer: Scorer, train: Dataset, ids: pl.Series, features: Mapping[str, FeatureTable]
) -> ExtendedScorer:
    """The scorer with items that were not in training at the end of its catalogue.

    Args:
        scorer: of a run.
        train: what it learned from.
        ids: outside ids of the new items [n].
        features: a table of n rows for every modality of training.

    Returns:
        The larger scorer, and `train` with the new ids, whom nobody has met; a title that is not known is null.

    Raises:
        InputError: the method, or the part of a joined one that has to, makes nothing of features; an id that the run knows or that is there twice,
            or of another type than the run's; a modality that is missing or of another width.
    """
    _check_tables(by_features.reads_of(scorer), len(ids), features)
    ids = require_id_type(ids, train.items.ids.dtype, "new items")
    known = np.flatnonzero(train.items.rows(ids) >= 0)
    if len(known):
        cause = f"item {ids[int(known[0])]!r} is not new: it was in training ({len(known)} of {len(ids)} were)"
        raise InputError(cause, place="new items", remedy="leave it out: it is ranked already")
    if ids.n_unique() < len(ids):
        raise InputError(
            f"item {ids.filter(ids.is_duplicated())[0]!r} is there twice",
            place="new items",
            remedy="give each once",
        )
    grown: Scorer = by_features.grown(scorer, features)
    pairs = replace(train.pairs, n_items=grown.n_items)
    titles = (
        None
        if train.titles is None
        else pl.concat(
            [train.titles, pl.Series(train.titles.name, [None] * len(ids), dtype=pl.String)]
        )
    )
    items = Vocab(pl.concat([train.items.ids.alias("item"), ids.alias("item")]), train.items.name)
    digest = hashlib.sha256(
        " ".join(
            [
                Vocab(ids).fingerprint,
                *(f"{name} {features[name].fingerprint}" for name in sorted(features)),
            ]
        ).encode()
    )
    return ExtendedScorer(
        grown,
        Dataset(
            pairs,
            train.users,
            items,
            titles=titles,
            history=train.history,
            learned=None if train.learned is None else np.pad(train.learned, (0, len(ids))),
        ),
        ids,
        digest.hexdigest(),
    )


def fold_in(scorer: Scorer, met: sp.csr_matrix) -> Scorer:
    """The scorer of other users, known by what they have met alone.

    Exact for neighbourhood and linear models, whose scores are the user's items times a matrix, and for popularity; the row solve of iALS gives what
    training gives once it has converged. Every other method has learned something of each user, or keeps no network that reads a history.

    Args:
        scorer: of a run.
        met: CSR [n, n_items] over the items of training; its pattern counts.

    Raises:
        InputError: another number of items, or a scorer that cannot.
    """
    if met.shape[1] != scorer.n_items:
        raise InputError(
            f"histories over {met.shape[1]} items, and the scorer has {scorer.n_items}",
            remedy="number items as in training",
        )
    if isinstance(scorer, Sum | Blend):
        return replace(
            scorer,
            parts=folded_parts(
                scorer.kind, numbered(scorer.parts), lambda part: fold_in(part, met)
            ),
        )
    able = getattr(scorer, "fold_in", None)
    if able is None:
        raise no_fold_in(str(getattr(scorer, "kind", type(scorer).__name__)))
    folded: Scorer = able(met)
    return folded


def serve_users(
    scorer: Scorer, train: Dataset, source: str | Path | pl.DataFrame
) -> ExtendedScorer:
    """The scorer of the users of a log, from what that log says of them and nothing else; users of training among them are served anew.

    Items that were not in training say nothing of a user: their rows are left out, and a note says how many there are. A user who has no other
    row stays, as one without a pair.

    Args:
        scorer: of a run.
        train: what it learned from.
        source: pairs with outside ids, a file or a frame as `recsys.data.load` reads them: columns `user` and `item`.

    Raises:
        InputError: the file is none, no item of it was in training, or a scorer that cannot.
    """
    data = load(source if isinstance(source, pl.DataFrame) else Path(source)).dataset
    items = train.items.rows(data.items.ids)
    if (items < 0).all():
        train.items.require(data.items.ids, "new users")
    kept = items[data.pairs.item] >= 0
    pairs = Interactions(
        data.pairs.user[kept], items[data.pairs.item[kept]], data.n_users, train.n_items
    )
    grown = Dataset(pairs, data.users, train.items, titles=train.titles, learned=train.item_counts)
    notes: tuple[str, ...] = ()
    if not kept.all():
        strange = np.flatnonzero(items < 0)
        notes = (
            f"{len(strange):,} of {len(items):,} items of the new users unknown to the run, such as "
            f"{data.items.ids[int(strange[0])]!r}: {(~kept).sum():,} of {len(kept):,} rows left out",
        )
    return ExtendedScorer(
        fold_in(scorer, pairs.csr), grown, data.users.ids, grown.fingerprint, notes
    )


def _check_tables(reads: Mapping[str, int], n: int, features: Mapping[str, FeatureTable]) -> None:
    for name, dim in reads.items():
        table = features.get(name)
        if table is None:
            raise InputError(
                f"no features '{name}', which training had",
                place="new items",
                remedy="give them, or mark them as missing",
            )
        if table.values.shape != (n, dim):
            cause = f"features '{name}' are {table.values.shape[0]} x {table.dim}, and training had {dim} numbers for each of {n}"
            raise InputError(
                cause, place="new items", remedy="make them by the same encoder, a row per item"
            )
