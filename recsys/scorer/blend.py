"""Scorers that make one ranking of what several scorers say.

The scores of two methods are on no common scale: inner products, sums of similarities, minus squared distances. So before anything is added or put
into one list, the scores of a user are brought onto a scale that both share, for each user apart; a user's own order is never changed by that.

    Blend      every item by all of them: a weighted sum of standardised scores
    Fallback   items that one method cannot know by another, on the scale of the first

Sources: Fox, Shaw, "Combination of multiple searches", TREC-2, 1994, for the sum; Montague, Aslam, "Relevance score normalization for metasearch",
CIKM 2001, for standardised scores, and Aslam, Montague, "Models for metasearch", SIGIR 2001, for ranks (Borda); Burke, "Hybrid recommender systems:
survey and experiments", UMUAI 2002, for switching between methods. The scale of `Fallback` is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.scorer.ability import Places, places_of, shared_by
from recsys.scorer.als_fold_in import no_fold_in
from recsys.scorer.feature_encoder import grown, numbered, reads_of_parts, under

if TYPE_CHECKING:
    from recsys.scorer import Scorer

__all__ = ["Blend", "Calibration", "Fallback", "Standard", "folded_parts", "standardised"]

Standard = Literal["zscore", "rank"]
Calibration = Literal["moments", "none"]

_FLAT = 1e-6  # a deviation that is smaller, beside the largest score, is rounding


@dataclass(frozen=True, eq=False)
class Blend:
    """A weighted sum of scorers over the same users and items, each standardised over all items of a user first.

    Args:
        parts: at least one scorer.
        weights: one number per part.
        by: as in `standardised`.

    Raises:
        InputError: parts of different sizes, or not a weight for each.
    """

    parts: tuple[Scorer, ...]
    weights: tuple[float, ...]
    by: Standard = "zscore"

    kind = "blend"

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise InputError(
                f"{len(self.parts)} scorers and {len(self.weights)} weights",
                remedy="give a weight for each of at least one scorer",
            )
        _check_sizes(*self.parts)

    @property
    def n_users(self) -> int:
        return self.parts[0].n_users

    @property
    def n_items(self) -> int:
        return self.parts[0].n_items

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def places(self) -> Places:
        """What all parts that count can place."""
        both = zip(self.parts, self.weights, strict=True)
        return shared_by(part for part, weight in both if weight)

    def to(self, device: torch.device | str) -> Blend:
        return Blend(tuple(part.to(device) for part in self.parts), self.weights, self.by)

    def fold_in(self, met: sp.csr_matrix) -> Blend:
        """The scorer of other users, known by what they have met alone [n, n_items].

        Raises:
            InputError: one of the parts has something of each user that no history tells.
        """
        return Blend(
            folded_parts(self.kind, numbered(self.parts), lambda part: _folded(part, met)),
            self.weights,
            self.by,
        )

    def reads(self) -> dict[str, int]:
        """The modalities by which the parts place an item that was not in training, and the length of a vector of each.

        Raises:
            InputError: one of the parts cannot; its name.
        """
        return reads_of_parts(self.kind, numbered(self.parts))

    def with_items(self, features: Mapping[str, FeatureTable]) -> Blend:
        """The same scorer with more items at the end, known by their features alone.

        A user's scores are standardised over them too, as they would be had the items been in the data without a pair.

        Raises:
            InputError: one of the parts cannot; its name.
        """
        self.reads()
        return Blend(tuple(grown(part, features) for part in self.parts), self.weights, self.by)

    def score(self, users: Tensor) -> Tensor:
        total = standardised(self.parts[0].score(users), self.by).mul_(self.weights[0])
        for part, weight in zip(self.parts[1:], self.weights[1:], strict=True):
            total.add_(standardised(part.score(users), self.by).to(total.device), alpha=weight)
        return total

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        names = [f"part{index}" for index in range(len(self.parts))]
        tensors, metas = _packed(dict(zip(names, self.parts, strict=True)))
        return tensors, {
            "kind": self.kind,
            "parts": metas,
            "weights": list(self.weights),
            "by": self.by,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Blend:
        parts = _unpacked(
            tensors, {f"part{index}": inner for index, inner in enumerate(meta["parts"])}
        )
        return cls(tuple(parts), tuple(meta["weights"]), meta["by"])


@dataclass(frozen=True, eq=False)
class Fallback:
    """The first scorer, and the second where the first knows nothing; one ranking of both.

    The scores of the second for the items that the first does not know are put on the scale of the first. With "moments", and m, d for mean and
    standard deviation of a user's scores over the items that the first knows (both can score those),

        s(u, j) = s1(u, j)                                       for an item that the first knows,
                = m1 + d1 / d2 * (s2(u, j) - m2) + advantage * d1    for any other:

    an item that the second finds two deviations above the known ones is put two deviations above them. Where one of the two says the same of all
    known items the ratio is 1, so that the order within the second is kept. With "none", s2(u, j) + advantage. A user whom the first does not know
    is scored by the second alone, by its own numbers.

    Args:
        first, second: scorers over the same users and items; the first may lack the last items, if it does not know them.
        item_known: bool [n_items], which items the first knows.
        user_known: bool [n_users], which users; None: all.
        calibrate: "moments" or "none".
        advantage: how far items that the first does not know are moved up, in deviations of the known ones, or in scores with "none".

    Raises:
        InputError: sizes that do not fit.
    """

    first: Scorer
    second: Scorer
    item_known: Tensor
    user_known: Tensor | None = None
    calibrate: Calibration = "moments"
    advantage: float = 0.0

    kind = "fallback"

    def __post_init__(self) -> None:
        if (
            self.first.n_users != self.second.n_users
            or not self.first.n_items <= self.second.n_items == len(self.item_known)
        ):
            _check_sizes(self.first, self.second)
        for known, n, what in (
            (self.item_known, self.n_items, "items"),
            (self.user_known, self.n_users, "users"),
        ):
            if known is not None and (known.dtype != torch.bool or known.shape != (n,)):
                raise InputError(
                    f"which {what} are known is {known.dtype} {list(known.shape)}, and there are {n}",
                    remedy="give a bool for each",
                )
        if bool(self.item_known[self.first.n_items :].any()):
            raise InputError(
                f"an item is known to the first scorer, which has {self.first.n_items}",
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
        """A fallback for the items without a pair in `train`, and with `users` for users without one, too."""
        met = [
            torch.from_numpy(np.bincount(rows, minlength=n) > 0)
            for rows, n in ((train.item, train.n_items), (train.user, train.n_users))
        ]
        item, user = (known.to(first.device) for known in met)
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
    def places(self) -> Places:
        """What the second places; users without a pair by the first as well, where both are asked for them."""
        first, second = places_of(self.first), places_of(self.second)
        return Places(
            users=second.users and (first.users or self.user_known is not None), items=second.items
        )

    def to(self, device: torch.device | str) -> Fallback:
        first, second = self.first.to(device), self.second.to(device)
        user = None if self.user_known is None else self.user_known.to(first.device)
        return Fallback(
            first, second, self.item_known.to(first.device), user, self.calibrate, self.advantage
        )

    def fold_in(self, met: sp.csr_matrix) -> Fallback:
        """The scorer of other users, known by what they have met alone [n, n_items]; the items are those of training.

        Raises:
            InputError: one of the two has something of each user that no history tells.
        """
        known = (
            None
            if self.user_known is None
            else torch.from_numpy(np.diff(met.indptr) > 0).to(self.device)
        )
        parts = {"first": self.first, "second": self.second}
        first, second = folded_parts(
            self.kind, parts, lambda part: _folded(part, met[:, : part.n_items])
        )
        return Fallback(first, second, self.item_known, known, self.calibrate, self.advantage)

    def reads(self) -> dict[str, int]:
        """The modalities by which the second places an item that was not in training, and the length of a vector of each.

        Raises:
            InputError: the second cannot.
        """
        return reads_of_parts(self.kind, {"second": self.second})

    def with_items(self, features: Mapping[str, FeatureTable]) -> Fallback:
        """The same scorer with more items at the end, which the second knows by their features alone and the first does not know.

        Raises:
            InputError: the second cannot.
        """
        self.reads()
        second = grown(self.second, features)
        known = F.pad(self.item_known, (0, second.n_items - self.n_items))
        return Fallback(self.first, second, known, self.user_known, self.calibrate, self.advantage)

    def score(self, users: Tensor) -> Tensor:
        first = self.first.score(users)
        second = self.second.score(users).to(first.device)
        first = F.pad(
            first, (0, second.shape[1] - first.shape[1])
        )  # what it lacks it does not know
        known = self.item_known
        matched = second + self.advantage
        if self.calibrate == "moments" and bool(known.any()):
            (mean, deviation), (own_mean, own) = (
                _moments(first[:, known]),
                _moments(second[:, known]),
            )
            ratio = torch.where((deviation == 0) | (own == 0), 1.0, deviation / own)
            matched = mean + self.advantage * deviation + ratio * (second - own_mean)
        scores = torch.where(known, first, matched)
        if self.user_known is None:
            return scores
        return torch.where(self.user_known[users.to(first.device)][:, None], scores, second)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, (first, second) = _packed({"first": self.first, "second": self.second})
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
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Fallback:
        first, second = _unpacked(tensors, {name: meta[name] for name in ("first", "second")})
        return cls(
            first,
            second,
            tensors["item_known"],
            tensors.get("user_known"),
            meta["calibrate"],
            meta["advantage"],
        )


def standardised(scores: Tensor, by: Standard = "zscore") -> Tensor:
    """Scores [B, n] of each user on a scale that does not depend on the method, float32 [B, n], in the order they had.

    "zscore": less their mean, over their standard deviation over all items; zeros where all are the same. "rank": the share of the other items that
    score lower, equal ones counting half: 0 for the worst, 1 for the best, 1/2 where all are the same. What is no number stays none.
    """
    if by == "zscore":
        mean, deviation = _moments(scores)
        return (scores - mean).mul_(torch.where(deviation == 0, 0.0, 1 / deviation))
    ordered = scores.sort(dim=1).values
    lower, upto = (
        torch.searchsorted(ordered, scores),
        torch.searchsorted(ordered, scores, right=True),
    )
    share = (lower + upto - 1).to(torch.float32).div_(2 * max(1, scores.shape[1] - 1))
    if scores.shape[1] == 1:
        share = torch.full_like(share, 0.5)
    return share.masked_fill_(scores.isnan(), torch.nan)


def _moments(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each row [B, n], both [B, 1]; a deviation that is nothing but rounding is 0."""
    mean = scores.mean(1, keepdim=True)
    deviation = (scores - mean).square_().mean(1, keepdim=True).sqrt_()
    return mean, deviation.masked_fill_(
        deviation <= _FLAT * scores.abs().amax(1, keepdim=True), 0.0
    )


def _check_sizes(*parts: Scorer) -> None:
    sizes = {(part.n_users, part.n_items) for part in parts}
    if len(sizes) > 1:
        said = " and ".join(f"{users} x {items}" for users, items in sorted(sizes))
        raise InputError(
            f"scorers of {said} users and items do not go together",
            remedy="join scorers of the same data",
        )


def folded_parts(
    whole: str, parts: Mapping[str, Any], fold: Callable[[Any], Any]
) -> tuple[Any, ...]:
    """The parts of a scorer for other users.

    Args:
        whole: what they are parts of.
        parts: scorers by what they are called.
        fold: the same of one scorer.

    Raises:
        InputError: a part that cannot, by its name.
    """
    made = []
    for name, part in parts.items():
        try:
            made.append(fold(part))
        except InputError as error:
            raise InputError(
                f"the {name} part of this {whole}: {error.cause}",
                place=error.place,
                remedy=error.remedy,
            ) from None
    return tuple(made)


def _folded(part: Any, met: sp.csr_matrix) -> Any:
    if not hasattr(part, "fold_in"):
        raise no_fold_in(part.kind)
    return part.fold_in(met)


def _packed(parts: Mapping[str, Scorer]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The tensors of several scorers, each under its name and a dot, and their metadata."""
    tensors: dict[str, Tensor] = {}
    metas = []
    for name, part in parts.items():
        inner, meta = part.state()
        tensors |= {f"{name}.{key}": tensor for key, tensor in inner.items()}
        metas.append(meta)
    return tensors, metas


def _unpacked(
    tensors: Mapping[str, Tensor], metas: Mapping[str, Mapping[str, Any]]
) -> list[Scorer]:
    """What `_packed` packed, in the order of the metadata."""
    from recsys.scorer import from_state  # which knows all kinds, these two among them

    found = []
    for name, meta in metas.items():
        found.append(from_state(under(f"{name}.", tensors), meta))
    return found
