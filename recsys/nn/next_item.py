"""Losses of the next item, from the states of positions and the vectors of a catalogue.

Every position has a state h and a target y, and compares the score of the target with those of
negatives. Symbols: s+ = h . w_y is the score of the target, s_k = h . w_k that of negative k of K.

    sampled   -s+ + log(exp(s+) + sum_k exp(s_k))
    softmax   -s+ + log(sum over all items j of exp(s_j))
    bce       -log sigmoid(s+) - mean_k log(1 - sigmoid(s_k))
    gbce      (-beta log sigmoid(s+) - sum_k log(1 - sigmoid(s_k))) / (K + 1)
    bpr, top1, bpr-max, top1-max: see `recsys.nn.session_losses`; bpr is also that of `Loss`

gbce: a = K / (n_items - 1) is the share of items that are drawn, and beta = a (t (1 - 1/a) + 1/a):
with t = 0 the loss is binary cross-entropy, with t = 1 beta = a. It assumes uniform negatives.
Source: Petrov, Macdonald, "gSASRec: reducing overconfidence in sequential recommendation trained
with negative sampling", RecSys 2023. Computed by log-sigmoids, which equals the released transform
of the positive score and needs no bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.own_scores import own_scores
from recsys.nn.pool_softmax import pool_softmax
from recsys.nn.session_losses import bpr_max, top1, top1_max
from recsys.nn.terms import single
from recsys.sampling import Sampler, SequenceBatch

__all__ = ["Correction", "NextItem", "check_negatives", "gbce", "look_up"]

Correction: TypeAlias = Literal["both", "negatives"]
_BY_PAIRS = {"sampled": Loss(kind="softmax"), "bce": Loss(kind="bce"), "bpr": Loss(kind="bpr")}


def check_negatives(loss: str, sampler: Sampler, log_q: Correction) -> None:
    """Refuse a loss without the negatives that it needs, and a correction without effect.

    Raises:
        InputError: the settings do not fit.
    """
    if loss != "softmax" and sampler.negatives < 1:
        raise InputError(
            f"sampler.negatives = 0, and loss = '{loss}' compares with negatives",
            remedy="draw at least 1, or use loss = 'softmax'",
        )
    if loss != "sampled" and log_q != "both":
        raise InputError(
            f"log_q = '{log_q}' has no effect with loss = '{loss}'",
            remedy="leave log_q out, or use loss = 'sampled'",
        )


def gbce(pos: Tensor, neg: Tensor, mask: Tensor | None, *, n_items: int, t: float) -> Tensor:
    """Return the generalised binary cross-entropy of each position, [T].

    Args:
        pos: scores of the targets, [T].
        neg: scores of the negatives, [T, K].
        mask: bool [T, K], False for a candidate that is not a negative; None: all are.
        n_items: size of the catalogue.
        t: calibration, from 0 (binary cross-entropy) to 1.
    """
    k = neg.shape[1]
    share = min(1.0, k / max(1, n_items - 1))
    beta = share * (t * (1 - 1 / share) + 1 / share)
    others = F.softplus(neg)
    others = others if mask is None else others * mask
    return (beta * F.softplus(-pos) + others.sum(1)) / (k + 1)


@dataclass(frozen=True)
class NextItem:
    """The loss of the targets of a batch.

    Args:
        kind: the loss, see the module.
        log_q: "sampled": the correction for the proposal, of targets and negatives, or of the
            negatives only, whose sum then estimates that of all items.
        uniform: log probability of an item under a uniform proposal.
        t: calibration of gbce.
        penalty: lambda of bpr-max.
        temperature: scores are cosines divided by it; None: inner products.
    """

    kind: str
    log_q: Correction
    uniform: float
    t: float = 0.0
    penalty: float = 0.0
    temperature: float | None = None

    @classmethod
    def of(
        cls,
        kind: str,
        sampler: Sampler,
        log_q: Correction,
        train: Dataset,
        *,
        t: float = 0.0,
        penalty: float = 0.0,
        temperature: float | None = None,
    ) -> NextItem:
        """Return the loss for negatives that a sampler draws from a training set."""
        drawn = train.n_items
        if sampler.items == "warm":
            drawn = int((train.log.item_counts() > 0).sum())
        return cls(kind, log_q, -math.log(drawn), t, penalty, temperature)

    def terms(
        self,
        batch: SequenceBatch,
        state: Tensor,
        target: Tensor,
        pool: Tensor,
        table: nn.Embedding,
    ) -> Terms:
        """Return the loss of each target.

        Args:
            batch: the batch, with T targets.
            state: states of their positions, float [T, d].
            target: vectors of the targets, float [T, d].
            pool: vectors of the negatives that the batch shares, float [K, d]; none if it shares
                none.
            table: the vectors of all items.
        """
        if self.temperature is not None:
            state = F.normalize(state, dim=1) / self.temperature
            target, pool = F.normalize(target, dim=1), F.normalize(pool, dim=1)
        own = (state * target).sum(1)
        if batch.neg is None:
            return Terms(pool_softmax(state, own, self._every(table), target=batch.target))
        shift = self._log_q(batch)
        is_pool = batch.neg.dim() == 1
        if is_pool and self.kind == "sampled":
            own = own if shift is None else own - shift[0]
            each = None if shift is None else shift[1]
            return Terms(pool_softmax(state, own, pool, mask=batch.mask, shift=each))
        scores = state @ pool.T if is_pool else self._own_scores(state, table, batch.neg)
        n_items = table.num_embeddings
        if self.kind in _BY_PAIRS:
            loss = _BY_PAIRS[self.kind]
            return pair_terms(loss, own, scores, n_items=n_items, mask=batch.mask, log_q=shift)
        return Terms(self._of_scores(single(own), single(scores), batch.mask, n_items))

    def _every(self, table: nn.Embedding) -> Tensor:
        """Return the vectors of all items as they are scored, [n, d]."""
        return table.weight if self.temperature is None else F.normalize(table.weight, dim=1)

    def _own_scores(self, state: Tensor, table: nn.Embedding, item: Tensor) -> Tensor:
        """Return the scores of the own negatives of each position, [T, K]."""
        if table.sparse:  # so is its gradient, which only a look-up has
            vectors = table(item)
            vectors = vectors if self.temperature is None else F.normalize(vectors, dim=2)
            return torch.einsum("td,tkd->tk", state, vectors)
        return own_scores(state, self._every(table), item)

    def _of_scores(self, pos: Tensor, neg: Tensor, mask: Tensor | None, n_items: int) -> Tensor:
        if self.kind == "gbce":
            return gbce(pos, neg, mask, n_items=n_items, t=self.t)
        if self.kind == "bpr-max":
            return bpr_max(pos, neg, mask, penalty=self.penalty)
        return {"top1": top1, "top1-max": top1_max}[self.kind](pos, neg, mask)

    def _log_q(self, batch: SequenceBatch) -> tuple[Tensor, Tensor] | None:
        """Return what is subtracted from the scores of targets [T] and of negatives, or None."""
        if self.kind != "sampled" or self.log_q == "both":
            return batch.log_q
        assert batch.neg is not None
        log_k = math.log(batch.neg.shape[-1])
        none = torch.zeros(len(batch), device=batch.target.device)
        if batch.log_q is None:
            return none, torch.full(batch.neg.shape, self.uniform + log_k, device=none.device)
        return none, batch.log_q[1] + log_k


def look_up(table: nn.Embedding, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the vectors of the items [T, d], of the targets [M, d] and of the shared pool [K, d].

    One look-up serves all, so that there is one gradient of the table. K is 0 without a pool.
    """
    is_pool = batch.neg is not None and batch.neg.dim() == 1
    drawn = batch.item[:0] if batch.neg is None or not is_pool else batch.neg
    vectors = table(torch.cat([batch.item, batch.target, drawn]))
    sizes = [len(batch.item), len(batch), len(drawn)]
    items, targets, pool = torch.split(vectors, sizes)
    return items, targets, pool
