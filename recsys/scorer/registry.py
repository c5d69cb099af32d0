"""The kinds of scorers by name, and scorers from their saved state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from recsys.errors import InputError
from recsys.scorer.base import Scorer
from recsys.scorer.blend import Blend, Fallback
from recsys.scorer.chain_factors import ChainFactors
from recsys.scorer.factors import Factors, MultiFactors
from recsys.scorer.item_vectors import AskedItems
from recsys.scorer.pairwise import Deep, Relational
from recsys.scorer.parts import RestorePart
from recsys.scorer.product import Product
from recsys.scorer.sequence_encoder import SequenceEncoder
from recsys.scorer.session_neighbours import SessionNeighbours
from recsys.scorer.sum import Sum
from recsys.scorer.transitions import Transitions

__all__ = ["KINDS", "from_state"]


class _Single(Protocol):
    """A class of scorers that are restored from their own tensors."""

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Scorer: ...


class _Joined(Protocol):
    """A class of scorers whose parts are scorers, which the registry restores."""

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], restore_part: RestorePart
    ) -> Scorer: ...


_SINGLE: Mapping[str, type[_Single]] = {
    Factors.kind: Factors,
    MultiFactors.kind: MultiFactors,
    Relational.kind: Relational,
    Product.kind: Product,
    Deep.kind: Deep,
    Transitions.kind: Transitions,
    SessionNeighbours.kind: SessionNeighbours,
    SequenceEncoder.kind: SequenceEncoder,
    ChainFactors.kind: ChainFactors,
    AskedItems.kind: AskedItems,
}
_JOINED: Mapping[str, type[_Joined]] = {
    Sum.kind: Sum,
    Blend.kind: Blend,
    Fallback.kind: Fallback,
}
KINDS: Mapping[str, type[_Single] | type[_Joined]] = {**_SINGLE, **_JOINED}


def from_state(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Scorer:
    """Build the scorer that `Scorer.state` described.

    Args:
        tensors: tensors by name.
        meta: metadata; its "kind" is a key of `KINDS`.

    Raises:
        InputError: an unknown kind or a missing tensor: the file is foreign or damaged.
    """
    kind = str(meta.get("kind"))
    try:
        if kind in _JOINED:
            return _JOINED[kind].restore(tensors, meta, from_state)
        if kind in _SINGLE:
            return _SINGLE[kind].restore(tensors, meta)
    except KeyError as missing:
        raise InputError(
            f"scorer without its part {missing}",
            remedy="the file is damaged or foreign: train again",
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"scorer whose parts do not fit: {error}",
            remedy="the file is damaged or foreign: train again",
        ) from None
    raise InputError(
        f"scorer of unknown kind {meta.get('kind')!r}",
        remedy=f"known kinds: {', '.join(KINDS)}; was it written by a newer version?",
    )
