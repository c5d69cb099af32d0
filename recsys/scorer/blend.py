"""Scorers that make one ranking from several scorers on different scales.

    Blend      scores every item by all of them: a weighted sum of standardised scores
    Fallback   scores the items that one method does not know by another, on the scale of the first

Sources: Fox, Shaw, "Combination of multiple searches", TREC-2, 1994, for the sum; `scales` for
standardised scores; Burke, "Hybrid recommender systems: survey and experiments", UMUAI 2002, for
switching between methods. The scale of `Fallback` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.scorer.ability import Places, places_of
from recsys.scorer.base import Scorer, answered_by
from recsys.scorer.parts import (
    RestorePart,
    WeightedParts,
    answers_of_all,
    append_items,
    each_part,
    modalities,
    numbered,
    pack,
    unpack,
)
from recsys.scorer.plan import Dense, Plan
from recsys.scorer.rows import user_rows
from recsys.scorer.scales import Standard, moments, standardised

__all__ = ["Blend", "Calibration", "Fallback", "Standard", "standardised"]

Calibration = Literal["moments", "none"]


@dataclass(frozen=True, eq=False)
class Blend(WeightedParts):
    """A weighted sum of scorers, each standardised over all items of a user first.

    After `with_items` the scores are standardised over the new items too, as if these items had
    been in the data without an interaction.

    Args:
        parts: at least one scorer; all over the same users and items.
        weights: one number per part.
        by: as in `standardised`.

    Raises:
        InputError: parts of different sizes, or another number of weights than of parts.
    """

    by: Standard = "zscore"

    kind: ClassVar[str] = "blend"

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise InputError(
                f"{len(self.parts)} scorers and {len(self.weights)} weights",
                remedy="give a weight for each of at least one scorer",
            )
        _check_sizes(*self.parts)

    def score(self, queries: Queries) -> Tensor:
        self._check(queries)
        total = standardised(self.parts[0].score(queries), self.by).mul_(self.weights[0])
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            total.add_(standardised(part.score(queries), self.by).to(total.device), alpha=weight)
        return total

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().state()
        return tensors, meta | {"by": self.by}

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], restore_part: RestorePart
    ) -> Blend:
        parts = unpack(tensors, numbered(meta["parts"]), restore_part)
        return cls(parts, tuple(meta["weights"]), meta["by"])


@dataclass(frozen=True, eq=False)
class Fallback:
    """The first scorer, and the second for the items that the first does not know, in one ranking.

    The scores of the second for these items are put on the scale of the first. With "moments", and
    m, d for mean and standard deviation of a user's scores over the items that the first knows
    (both scorers can score those),

        s(u, j) = s1(u, j)                            for an item that the first knows,
                = m1 + d1 / d2 * (s2(u, j) - m2) + advantage * d1    for any other item.

    An item that the second puts two deviations above the known items is put two deviations above
    them. Where one of the two gives the same score to all known items the ratio d1 / d2 is 1, so
    that the order of the second is kept. With "none", the score is s2(u, j) + advantage. A user
    whom the first does not know is scored by the second alone, on its own scale.

    Args:
        first, second: scorers over the same users and items; the first may lack the last items, if
            it does not know them.
        item_known: bool [n_items], the items that the first knows.
        user_known: bool [n_users], the users that the first knows; None: all.
        calibrate: "moments" or "none".
        advantage: how far items that the first does not know are moved up, in standard deviations
            of the known ones, or in units of the score with "none".

    Raises:
        InputError: sizes that do not fit.
    """

    first: Scorer
    second: Scorer
    item_known: Tensor
    user_known: Tensor | None = None
    calibrate: Calibration = "moments"
    advantage: float = 0.0

    kind: ClassVar[str] = "fallback"

    def __post_init__(self) -> None:
        first, second = self.first, self.second
        fits = first.n_items <= second.n_items == len(self.item_known)
        if first.n_users != second.n_users or not fits:
            _check_sizes(first, second)
        _check_mask(self.item_known, self.n_items, "items")
        if self.user_known is not None:
            _check_mask(self.user_known, self.n_users, "users")
        if bool(self.item_known[first.n_items :].any()):
            raise InputError(
                f"an item is known to the first scorer, which has {first.n_items}",
                remedy="join scorers of the same data",
            )

    @classmethod
    def of(
        cls,
        first: Scorer,
        second: Scorer,
        train: Interactions,
        *,
        users: bool = True,
        calibrate: Calibration = "moments",
        advantage: float = 0.0,
    ) -> Fallback:
        """Return a fallback for items, and users, without an interaction in `train`.

        Args:
            first, second, calibrate, advantage: as in `Fallback`.
            train: training interactions of the first scorer.
            users: whether the second also scores users without an interaction.
        """
        item, user = (
            torch.from_numpy(np.bincount(rows, minlength=n) > 0).to(first.device)
            for rows, n in ((train.item, train.n_items), (train.user, train.n_users))
        )
        return cls(first, second, item, user if users else None, calibrate, advantage)

    @property
    def n_users(self) -> int:
        return self.first.n_users

    @property
    def n_items(self) -> int:
        return self.second.n_items

    @property
    def device(self) -> torch.device:
        return self.first.device

    @property
    def answers(self) -> frozenset[QueryKind]:
        """The queries that both answer."""
        return answers_of_all((self.first, self.second))

    @property
    def places(self) -> Places:
        """What the second places; users only if the first places them too or is not asked."""
        first, second = places_of(self.first), places_of(self.second)
        second_gets_users = first.users or self.user_known is not None
        return Places(users=second.users and second_gets_users, items=second.items)

    def to(self, device: torch.device | str) -> Fallback:
        first, second = self.first.to(device), self.second.to(device)
        user = None if self.user_known is None else self.user_known.to(first.device)
        return Fallback(
            first, second, self.item_known.to(first.device), user, self.calibrate, self.advantage
        )

    def plan(self) -> Plan:
        return Dense()

    def reads(self) -> dict[str, int]:
        """Return the modalities that the second needs for new items, see `TakesItems.reads`.

        Raises:
            InputError: the second cannot rank new items.
        """
        return modalities(self.kind, {"second": self.second})

    def with_items(self, features: Mapping[str, FeatureTable]) -> Fallback:
        """Return the scorer with new items at the end, which the second scores by their features.

        Raises:
            InputError: the second cannot rank new items.
        """
        self.reads()
        second = append_items(self.second, features)
        known = F.pad(self.item_known, (0, second.n_items - self.n_items))
        return Fallback(self.first, second, known, self.user_known, self.calibrate, self.advantage)

    def score(self, queries: Queries) -> Tensor:
        parts = {"first": self.first, "second": self.second}
        each_part(self.kind, parts, lambda part: answered_by(part, queries))
        to_first = queries
        if queries.history is not None and self.first.n_items < self.n_items:
            to_first = replace(queries, history=queries.history.within(self.first.n_items))
        first = self.first.score(to_first)
        second = self.second.score(queries).to(first.device)
        # Items that the first lacks are not known to it, so these zeros are not used.
        first = F.pad(first, (0, second.shape[1] - first.shape[1]))
        known = self.item_known
        matched = second + self.advantage
        if self.calibrate == "moments" and bool(known.any()):
            mean, deviation = moments(first[:, known])
            own_mean, own = moments(second[:, known])
            ratio = torch.where((deviation == 0) | (own == 0), 1.0, deviation / own)
            matched = mean + self.advantage * deviation + ratio * (second - own_mean)
        scores = torch.where(known, first, matched)
        if self.user_known is None:
            return scores
        by_first = self._known_to_first(queries, self.user_known)
        return torch.where(by_first[:, None], scores, second)

    def _known_to_first(self, queries: Queries, user_known: Tensor) -> Tensor:
        """Return which queries the first scorer answers, bool [B]; those of an empty history not.

        Args:
            queries: the queries.
            user_known: users whom the first knows, bool [n_users].
        """
        if answered_by(self.first, queries) == "user":
            return user_known[user_rows(queries, self.device)]
        assert queries.history is not None
        return torch.from_numpy(queries.history.length > 0).to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, (first, second) = pack({"first": self.first, "second": self.second})
        tensors["item_known"] = self.item_known
        if self.user_known is not None:
            tensors["user_known"] = self.user_known
        return tensors, {
            "kind": self.kind,
            "first": first,
            "second": second,
            "calibrate": self.calibrate,
            "advantage": self.advantage,
        }

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], restore_part: RestorePart
    ) -> Fallback:
        metas = {name: meta[name] for name in ("first", "second")}
        first, second = unpack(tensors, metas, restore_part)
        return cls(
            first,
            second,
            tensors["item_known"],
            tensors.get("user_known"),
            meta["calibrate"],
            meta["advantage"],
        )


def _check_mask(known: Tensor, n: int, rows: str) -> None:
    if known.dtype != torch.bool or known.shape != (n,):
        raise InputError(
            f"the mask of known {rows} must be bool [{n}], got {known.dtype} {list(known.shape)}",
            remedy=f"give one bool for each of the {rows}",
        )


def _check_sizes(*parts: Scorer) -> None:
    sizes = {(part.n_users, part.n_items) for part in parts}
    if len(sizes) > 1:
        listing = " and ".join(f"{users} x {items}" for users, items in sorted(sizes))
        raise InputError(
            f"scorers of {listing} users and items do not go together",
            remedy="join scorers of the same data",
        )
