"""The interface of a scorer, and the abilities that only some scorers have.

    Scorer        scores all items for a block of queries, and can be saved
    ItemVectors   has one vector per item
    VectorScorer  ranks by an inner product, a cosine or a distance of user and item vectors
    TakesItems    computes the scores of new items from their features

Which queries a scorer answers is a value, `Scorer.answers`: those of users of training, or those of
histories, which serve new users, sessions and items as well.

An ability is a protocol: a scorer has it if it has its methods. Callers use `require`, which raises
the error that a user sees. A class whose ability depends on its values (`Factors` computes new
items only with an encoder) has the methods and raises the same error from them, by `lacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from recsys.data.query import Queries, QueryKind
from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.scorer.plan import Plan

__all__ = [
    "ItemVectors",
    "Scorer",
    "Similarity",
    "TakesItems",
    "VectorScorer",
    "answered_by",
    "lacks",
    "readable",
    "require",
]

Similarity = Literal["dot", "cosine", "euclidean"]
Ability = TypeVar("Ability")


@runtime_checkable
class Scorer(Protocol):
    """A frozen value that scores every item for a block of queries.

    A scorer with an attribute `places` declares whether its scores are informative for users and
    items without a training interaction (`recsys.scorer.ability`).
    """

    @property
    def kind(self) -> str:
        """Name of the kind, as in the metadata of a saved scorer: "factors", "product", ..."""
        ...

    @property
    def n_users(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def answers(self) -> frozenset[QueryKind]:
        """Which queries it answers: of users of training, of histories, or both."""
        ...

    def to(self, device: torch.device | str) -> Scorer:
        """Return the scorer with its tensors on a device."""
        ...

    def score(self, queries: Queries) -> Tensor:
        """Return the scores of all items, float32 [B, n_items]; higher is better.

        What the queries exclude is scored too: the ranking leaves it out. The scores of a query do
        not depend on the other queries.

        Args:
            queries: B queries of a kind that the scorer answers.

        Raises:
            InputError: the scorer does not answer such queries.
        """
        ...

    def plan(self) -> Plan:
        """Return how the scores are computed, so that they can be ranked quickly."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata from which `from_state` builds an equal scorer."""
        ...


@runtime_checkable
class ItemVectors(Protocol):
    """A scorer with one vector per item."""

    @property
    def item(self) -> Tensor:
        """Item vectors, float32 [n_items, d]."""
        ...


@runtime_checkable
class VectorScorer(ItemVectors, Protocol):
    """A scorer whose ranking follows from its vectors alone, so that they can be exported.

    The score is the similarity of the vectors plus the bias of the item. If a user has several
    vectors, the best of them counts.
    """

    @property
    def user(self) -> Tensor:
        """User vectors, float32 [n_users, d], or [n_users, C, d] for several per user."""
        ...

    @property
    def similarity(self) -> Similarity:
        """One of "dot" u.v, "cosine", and "euclidean" -|u - v|^2."""
        ...

    @property
    def item_bias(self) -> Tensor | None:
        """Bias of each item, float32 [n_items]; None without."""
        ...

    @property
    def count(self) -> Tensor | None:
        """Number of vectors of each user, int64 [n_users], the first ones; None: all of them."""
        ...


@runtime_checkable
class TakesItems(Protocol):
    """A scorer that computes the scores of new items from their features, without training."""

    def reads(self) -> dict[str, int]:
        """Return the modalities that a new item needs, and the dimension of each.

        Raises:
            InputError: the scorer does not use features.
        """
        ...

    def with_items(self, features: Mapping[str, FeatureTable]) -> Scorer:
        """Return the scorer with new items appended to its items.

        Args:
            features: a table of n rows for each modality of training, one row per new item.

        Raises:
            InputError: the scorer does not use features.
        """
        ...


@dataclass(frozen=True)
class _Lack:
    """Why a scorer lacks an ability, and which methods have it."""

    cause: str
    remedy: str


_LACKS: Mapping[object, _Lack] = {
    "history": _Lack(
        "has a learned vector per user, which cannot be computed from a history",
        "use itemknn, ease, gfcf, ials, userknn, multvae, contentknn, sasrec, gru4rec, "
        "bert4rec, hstu, fpmc, sknn, markov, dual, copurchase or popular, or train again with "
        "these users",
    ),
    "user": _Lack(
        "answers histories only, and the query has a user and no history", "give the history"
    ),
    TakesItems: _Lack(
        "does not compute the vector of an item from its features",
        "use milk, duif, dropoutnet, heater, clcrec or contentknn, or vbpr or bm3 with "
        "new_items = 'content', or train again with these items",
    ),
    ItemVectors: _Lack("has no item vectors", "use a factor method such as mf, cml or lightgcn"),
    VectorScorer: _Lack(
        "ranks by more than an inner product or a distance of vectors",
        "use a factor method such as mf, cml or dpcml; `recsys recommend` works with every method",
    ),
}


def require(scorer: Scorer, ability: Callable[..., Ability], purpose: str) -> Ability:
    """Return the scorer as one that has an ability.

    Args:
        scorer: any scorer.
        ability: `ItemVectors`, `VectorScorer` or `TakesItems`.
        purpose: what the ability is needed for, as in "serve new users".

    Raises:
        InputError: the scorer lacks the ability; the remedy names the methods that have it.
    """
    # Declared as callable, because the type checker refuses a protocol where type[...] is expected.
    if not isinstance(scorer, cast("type[Ability]", ability)):
        raise lacks(scorer, ability, purpose)
    return scorer


def lacks(scorer: Scorer, ability: object, purpose: str) -> InputError:
    """Return the error of a scorer without an ability; arguments as for `require`."""
    lack = _LACKS[ability]
    cause = f"cannot {purpose}: this '{scorer.kind}' scorer {lack.cause}"
    return InputError(cause, remedy=lack.remedy)


def answered_by(scorer: Scorer, queries: Queries, purpose: str = "answer a history") -> QueryKind:
    """Return what a scorer reads of the queries: the history where it can, else the user.

    Args:
        scorer: any scorer.
        queries: the queries.
        purpose: what is asked for, for the error.

    Raises:
        InputError: the scorer answers no kind of query that these are.
    """
    return readable(scorer, queries.kinds, purpose)


def readable(scorer: Scorer, kinds: frozenset[QueryKind], purpose: str) -> QueryKind:
    """Return what a scorer reads of queries that have users, histories or both.

    Args:
        scorer: any scorer.
        kinds: what the queries have.
        purpose: what is asked for, for the error.

    Raises:
        InputError: the scorer answers no kind of query that these are.
    """
    both = kinds & scorer.answers
    if "history" in both:
        return "history"
    if "user" in both:
        return "user"
    raise lacks(scorer, "user" if "user" in kinds else "history", purpose)
