"""Missing modalities: removed from items on purpose, and imputed where a method needs them.

Removal follows Bai et al., "Multimodality invariant learning for multimedia-based new item
recommendation" (MILK), SIGIR 2024. Its settings are named after train items and new items: FTFT
(both have all modalities), FTMT (new items lose some; in the paper 50 % of them lose one), MTMT
(train items lose some too; in the paper 30 % of them lose one). Here both shares are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from recsys.config import Bound, settings
from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError

__all__ = ["Donors", "Impute", "Missing", "filling", "lose", "without"]

Impute: TypeAlias = Literal["mean", "zero", "nearest"]
Share: TypeAlias = Annotated[float, Bound(ge=0, le=1)]

_BLOCK_NUMBERS = 1 << 23  # similarities that are computed at a time


@settings
class Missing:
    """Modalities that items lose: `[split.missing]`.

    An item always keeps one modality, so only items with at least two can lose any.
    """

    train: Share = 0.0
    """Share of the items with a training interaction that lose something, of those that can."""
    new: Share = 0.0
    """Likewise, of the items without a training interaction."""
    lose: Literal["one", "some"] = "one"
    """one: a random modality. some: between one and all but one of the item's modalities, each
    number being equally likely."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Seed of the draw. With the same seed, an item that loses something at one share loses the
    same at every larger share."""


def without(train: Dataset, missing: Missing) -> Dataset:
    """Return the data with modalities removed, and a line about it in the history.

    Args:
        train: the training data with its features.
        missing: which items lose how much.

    Raises:
        InputError: no item has two modalities.
    """
    if not missing.train and not missing.new:
        return train
    warm = train.pairs.item_counts() > 0
    features = lose(train.features, warm, missing)
    before = np.stack([table.present for table in train.features.values()])
    after = np.stack([table.present for table in features.values()])
    fewer = (before & ~after).any(0)
    line = (
        f"missing: {int((fewer & warm).sum())} train and {int((fewer & ~warm).sum())} new items "
        f"lose {missing.lose}, seed {missing.seed}"
    )
    return replace(train, features=features, history=(*train.history, line))


def lose(
    features: Mapping[str, FeatureTable], warm: np.ndarray, missing: Missing
) -> dict[str, FeatureTable]:
    """Return the tables with fewer rows present; removed rows are zeros.

    Args:
        features: at least two modalities of n items.
        warm: which items have a training interaction, bool [n].
        missing: which items lose how much.

    Raises:
        InputError: no item has two modalities.
    """
    present = np.zeros((len(warm), 0), dtype=bool)
    if features:
        present = np.stack([table.present for table in features.values()], axis=1)
    n_owned = present.sum(1)
    if not (n_owned > 1).any():
        names = ", ".join(features) or "no modality"
        raise InputError(
            f"an item keeps one modality, and no item has two ({names})",
            place="[split] missing",
            remedy="give a second modality in [data] features, or leave it out",
        )
    n_lost, order = _draw(present.shape, n_owned, warm, missing)
    # The rank of each modality in the order in which its item loses them.
    rank = np.where(present, order, np.inf).argsort(1).argsort(1)
    kept = present & (rank >= n_lost[:, None])
    tables = {}
    for column, (name, table) in enumerate(features.items()):
        values = table.values.copy()
        values[~kept[:, column]] = 0
        tables[name] = FeatureTable(values, kept[:, column].copy(), table.encoder)
    return tables


def _draw(
    shape: tuple[int, ...], n_owned: np.ndarray, warm: np.ndarray, missing: Missing
) -> tuple[np.ndarray, np.ndarray]:
    """Draw how many modalities each item loses, int64 [n], and in which order, float64 [n, m].

    All numbers are drawn for all items, regardless of the shares: this is why the items of a
    smaller share are among those of a larger one. The seed has a suffix of its own, because the
    split draws new items by a seed too: with equal numbers, the new items of valid would lose
    theirs first.
    """
    rng = np.random.default_rng([missing.seed, *b"missing"])
    turn = rng.permutation(len(warm))
    order = rng.random(shape)
    number = rng.random(len(warm))
    n_lost = np.zeros(len(warm), dtype=np.int64)
    for group, share in ((warm, missing.train), (~warm, missing.new)):
        able = turn[(group & (n_owned > 1))[turn]]
        chosen = able[: round(share * len(able))]
        if missing.lose == "one":
            n_lost[chosen] = 1
        else:
            n_lost[chosen] = 1 + (number[chosen] * (n_owned[chosen] - 1)).astype(np.int64)
    return n_lost, order


def filling(table: FeatureTable, warm: np.ndarray, impute: Impute) -> np.ndarray:
    """Return the vector of a missing modality, if no other modality can help.

    Args:
        table: of the modality, n items.
        warm: which items have a training interaction, bool [n].
        impute: "zero": zeros. "mean" or "nearest": the mean of the warm items that have it.

    Returns:
        float32 [d].
    """
    known = _known(table, warm)
    if impute == "zero" or not known.any():
        return np.zeros(table.dim, dtype=np.float32)
    values = np.asarray(table.values, dtype=np.float32)
    chosen = values if known.all() else values[known]
    return np.asarray(chosen.mean(0, dtype=np.float64).astype(np.float32))


@dataclass(frozen=True)
class _Shared:
    """Directions of one modality, which items and donors are compared by.

    Args:
        asked: directions of the m items to fill, float32 [m, d].
        asked_present: which of them have the modality, bool [m].
        donors: directions of the donors, float32 [D, d].
        donors_present: which of them have the modality, bool [D].
    """

    asked: np.ndarray
    asked_present: np.ndarray
    donors: np.ndarray
    donors_present: np.ndarray


@dataclass(frozen=True, eq=False)
class Donors:
    """Items of training that lend their vectors to items that lack a modality.

    The donor of an item is the nearest by the modalities that both have. Similarity is the mean of
    the cosines of their vectors less the mean vector; of equal donors the first is taken. A donor
    of a modality has it and a training interaction; if no item has both, every item that has the
    modality is a donor.

    Args:
        features: modalities of the D donors, in the order and type of training.
        warm: which donors have a training interaction, bool [D].
    """

    features: Mapping[str, FeatureTable]
    warm: np.ndarray

    @classmethod
    def of(cls, features: Mapping[str, FeatureTable], warm: np.ndarray) -> Donors:
        """Return the items of training that can lend a vector.

        Tables are shared, not copied, if all items can.
        """
        able = np.any([_known(table, warm) for table in features.values()], axis=0)
        if able.all():
            return cls(dict(features), warm)
        tables = {
            name: FeatureTable(table.values[able], table.present[able])
            for name, table in features.items()
        }
        return cls(tables, warm[able])

    def lend(self, features: Mapping[str, FeatureTable]) -> dict[str, FeatureTable]:
        """Return the tables with missing rows filled.

        A row stays missing if its item shares no modality with a donor.

        Args:
            features: the modalities of training, a row per item; other tables are left out.
        """
        return {name: self._lent(name, features) for name in self.features}

    def _lent(self, name: str, features: Mapping[str, FeatureTable]) -> FeatureTable:
        """Return the table of one modality with missing rows filled."""
        table = features[name]
        rows, nearest = self._nearest(name, features)
        if not len(rows):
            return table
        values = np.asarray(table.values, dtype=np.float32)
        if values is table.values:
            values = values.copy()
        present = table.present.copy()
        values[rows] = self.features[name].values[nearest]
        present[rows] = True
        return FeatureTable(values, present)

    def _nearest(
        self, name: str, features: Mapping[str, FeatureTable]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items to fill, and the nearest donor of each; rows, int64 [m] both.

        They lack the modality `name` and share another one with a donor of it.
        """
        donors = np.flatnonzero(_known(self.features[name], self.warm))
        gaps = np.flatnonzero(~features[name].present)
        empty = np.empty(0, dtype=np.int64)
        if not len(donors) or not len(gaps):
            return empty, empty
        shared = [
            self._shared(table, features[other], gaps, donors)
            for other, table in self.features.items()
            if other != name
        ]
        rows, nearest = [], []
        block = max(1, _BLOCK_NUMBERS // len(donors))
        for start in range(0, len(gaps), block):
            part = slice(start, start + block)
            asked = gaps[part]
            total = np.zeros((len(asked), len(donors)), dtype=np.float32)
            count = np.zeros((len(asked), len(donors)), dtype=np.float32)
            for one in shared:
                total += one.asked[part] @ one.donors.T
                count += np.outer(one.asked_present[part], one.donors_present)
            similarity = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
            comparable = (count > 0).any(1)
            rows.append(asked[comparable])
            nearest.append(donors[similarity.argmax(1)[comparable]])
        return np.concatenate([empty, *rows]), np.concatenate([empty, *nearest])

    def _shared(
        self, own: FeatureTable, asked: FeatureTable, gaps: np.ndarray, donors: np.ndarray
    ) -> _Shared:
        """Return the directions of one modality of the rows `gaps` and of the donors."""
        mean = filling(own, self.warm, "mean")
        return _Shared(
            _directions(asked, gaps, mean),
            asked.present[gaps],
            _directions(own, donors, mean),
            own.present[donors],
        )


def _known(table: FeatureTable, warm: np.ndarray) -> np.ndarray:
    """Return which items have the modality and are warm; without such items, which have it."""
    both = table.present & warm
    return both if both.any() else table.present


def _directions(table: FeatureTable, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return vectors less the mean, scaled to length 1; zeros if missing. float32 [rows, d]."""
    centred = np.where(
        table.present[rows, None], np.asarray(table.values[rows], dtype=np.float32) - mean, 0
    )
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
