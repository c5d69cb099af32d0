"""Missing modalities: taken away on purpose, and what is put in their place.

Protocol of the first: Bai et al., "Multimodality invariant learning for multimedia-based new item recommendation" (MILK), SIGIR 2024. Its
settings are named by what train items and new items have: FTFT (both all of theirs), FTMT (new items lose some; the paper: 50 % of them lose one),
MTMT (train items lose some too; the paper: 30 % of them lose one). Here both shares are free, so that a curve can be drawn.
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

_BLOCK_NUMBERS = 1 << 23  # similarities that are held at a time


@settings
class Missing:
    """Modalities that items lose: `[split.missing]`. An item always keeps one, so only items with two or more can lose any."""

    train: Share = 0.0
    """Share of the items with a training pair that lose something, of those that can."""
    new: Share = 0.0
    """The same of items without a training pair."""
    lose: Literal["one", "some"] = "one"
    """one: a modality at random. some: between one and all but one of those an item has, every number as likely."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Of the draw. With the same seed who loses something at one share also does at a larger one, and loses the same."""


def without(train: Dataset, missing: Missing) -> Dataset:
    """The data with modalities taken away as asked, and a line in its history.

    Raises:
        InputError: no item has two modalities.
    """
    if not missing.train and not missing.new:
        return train
    warm = np.bincount(train.pairs.item, minlength=train.n_items) > 0
    features = lose(train.features, warm, missing)
    before, after = (
        np.stack([table.present for table in some.values()]) for some in (train.features, features)
    )
    fewer = (before & ~after).any(0)
    lost = f"missing: {int((fewer & warm).sum())} train and {int((fewer & ~warm).sum())} new items lose {missing.lose}, seed {missing.seed}"
    return replace(train, features=features, history=(*train.history, lost))


def lose(
    features: Mapping[str, FeatureTable], warm: np.ndarray, missing: Missing
) -> dict[str, FeatureTable]:
    """The same tables with less present; rows that are gone are zeros, so that nothing can read them by mistake.

    Args:
        features: at least two modalities of n items.
        warm: which items have a training pair, bool [n].
        missing: who loses how much.

    Raises:
        InputError: no item has two modalities.
    """
    present = (
        np.stack([table.present for table in features.values()], axis=1)
        if features
        else np.zeros((len(warm), 0), dtype=bool)
    )
    owned = present.sum(1)
    if not (owned > 1).any():
        cause = (
            f"an item keeps one modality, and none has two ({', '.join(features) or 'no modality'})"
        )
        raise InputError(
            cause,
            place="[split] missing",
            remedy="give a second modality in [data] features, or leave it out",
        )
    # All draws are made for all items, whatever the shares: this is what makes masks of larger shares hold those of smaller ones.
    # A stream of its own: the split draws new items by a seed as well, and the same numbers would take modalities from those of valid first.
    rng = np.random.default_rng([missing.seed, *b"missing"])
    turn, order, number = (
        rng.permutation(len(warm)),
        rng.random(present.shape),
        rng.random(len(warm)),
    )
    gone = np.zeros(len(warm), dtype=np.int64)
    for group, share in ((warm, missing.train), (~warm, missing.new)):
        able = turn[(group & (owned > 1))[turn]]
        chosen = able[: round(share * len(able))]
        gone[chosen] = (
            1
            if missing.lose == "one"
            else 1 + (number[chosen] * (owned[chosen] - 1)).astype(np.int64)
        )
    place = (
        np.where(present, order, np.inf).argsort(1).argsort(1)
    )  # of each modality in the order in which the item loses them
    kept = present & (place >= gone[:, None])
    made = {}
    for column, (name, table) in enumerate(features.items()):
        values = table.values.copy()
        values[~kept[:, column]] = 0
        made[name] = FeatureTable(values, kept[:, column].copy(), table.encoder)
    return made


def filling(table: FeatureTable, warm: np.ndarray, impute: Impute) -> np.ndarray:
    """What stands where nothing but the modality itself is known, float32 [d]: the mean, also for "nearest", or zeros."""
    known = _known(table, warm)
    if impute == "zero" or not known.any():
        return np.zeros(table.dim, dtype=np.float32)
    values = np.asarray(table.values, dtype=np.float32)
    return np.asarray(
        (values if known.all() else values[known]).mean(0, dtype=np.float64).astype(np.float32)
    )


@dataclass(frozen=True, eq=False)
class Donors:
    """Items of training, one of which lends its vector to an item that lacks the modality: the nearest by the modalities both have.

    Near is the mean of the cosines of their vectors less the mean vector; of equals the first is taken. A donor of a modality has it and a training
    pair; where no item has both, all that have it are.

    Args:
        features: their modalities, in the order of training, in the type they came in.
        warm: which have a training pair, bool [D].
    """

    features: Mapping[str, FeatureTable]
    warm: np.ndarray

    @classmethod
    def of(cls, features: Mapping[str, FeatureTable], warm: np.ndarray) -> Donors:
        """Those among the items of training that may lend something; tables are shared, not copied, where all may."""
        able = np.any([_known(table, warm) for table in features.values()], axis=0)
        if able.all():
            return cls(dict(features), warm)
        return cls(
            {
                name: FeatureTable(table.values[able], table.present[able])
                for name, table in features.items()
            },
            warm[able],
        )

    def lend(self, features: Mapping[str, FeatureTable]) -> dict[str, FeatureTable]:
        """The same tables with gaps filled; one stays where an item shares no modality with a donor.

        Args:
            features: the modalities of training, a row per item; other tables are left out.
        """
        return {name: self._lent(name, features) for name in self.features}

    def _lent(self, name: str, features: Mapping[str, FeatureTable]) -> FeatureTable:
        table = features[name]
        rows, nearest = self._nearest(name, features)
        if not len(rows):
            return table
        values, present = np.asarray(table.values, dtype=np.float32), table.present.copy()
        values = values.copy() if values is table.values else values
        values[rows], present[rows] = self.features[name].values[nearest], True
        return FeatureTable(values, present)

    def _nearest(
        self, name: str, features: Mapping[str, FeatureTable]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items that lack a modality and share another with a donor of it, and the nearest donor of each; rows, both [m]."""
        known, gaps = (
            np.flatnonzero(_known(self.features[name], self.warm)),
            np.flatnonzero(~features[name].present),
        )
        empty = np.empty(0, dtype=np.int64)
        if not len(known) or not len(gaps):
            return empty, empty
        others = []
        for other, theirs in self.features.items():
            if other != name:
                mean, asking = filling(theirs, self.warm, "mean"), features[other]
                others.append(
                    (
                        _directions(asking, gaps, mean),
                        asking.present[gaps],
                        _directions(theirs, known, mean),
                        theirs.present[known],
                    )
                )
        rows, nearest = [], []
        for start in range(0, len(gaps), block := max(1, _BLOCK_NUMBERS // len(known))):
            part = slice(start, start + block)
            asked = gaps[part]
            total, shared = (
                np.zeros((len(asked), len(known)), dtype=np.float32),
                np.zeros((len(asked), len(known)), dtype=np.float32),
            )
            for unit, has, theirs_unit, they_have in others:
                total += unit[part] @ theirs_unit.T
                shared += np.outer(has[part], they_have)
            closeness = np.where(shared > 0, total / np.maximum(shared, 1), -np.inf)
            some = (shared > 0).any(1)
            rows.append(asked[some])
            nearest.append(known[closeness.argmax(1)[some]])
        return np.concatenate([empty, *rows]), np.concatenate([empty, *nearest])


def _known(table: FeatureTable, warm: np.ndarray) -> np.ndarray:
    both = table.present & warm
    return both if both.any() else table.present


def _directions(table: FeatureTable, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Vectors of some rows less the mean, of length 1; zeros where there is none. float32 [len(rows), d]."""
    apart = np.where(
        table.present[rows, None], np.asarray(table.values[rows], dtype=np.float32) - mean, 0
    )
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    return np.divide(apart, length, out=np.zeros_like(apart), where=length > 0)
