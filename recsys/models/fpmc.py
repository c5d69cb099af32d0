"""FPMC: a user's taste and what follows their last items, both factorised.

Score of item i for user u after the items of L:

    x(u, L, i) = <VUI_u, VIU_i> + (1 / |L|) sum over l in L of <VIL_i, VLI_l>

Source: Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing personalized Markov chains for
next-basket recommendation", WWW 2010. The term <VUL_u, VLU_l> of the paper is the same for all
items, and drops out. Objective: mean over positions of the histories of

    loss(x(u, L, i), {x(u, L, j)}) + l2 / (2 T) * (squared norms of the rows of the batch)

where i is the next item, j are sampled negatives and T the number of positions. The default loss is
BPR with one negative, which is S-BPR.

Certain: the score and S-BPR, whose numbers agree with independent computations. [recalled]: start
values from N(0, 0.01^2). [reconstructed]: L, the last basket of the paper, is here the last `last`
items of a user; sessions or baskets are not read.

Differs from the paper: negatives are outside the whole history by default (`sampler.reject`); the
paper excludes those of the next basket. An epoch visits each position once; the paper draws with
replacement. The optimiser is that of [train].
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.own_scores import own_scores
from recsys.nn.packed import Groups, place_from_start
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import BatchOf, Sampler, SequenceBatch, Sequences, Windows
from recsys.scorer import ChainFactors
from recsys.scorer.stored_histories import StoredHistories

__all__ = ["FPMC", "trailing_mean"]


@settings
class FPMC(NeedsNegatives):
    """Factorised personal Markov chain: taste plus transitions (Rendle et al., 2010)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Dimension of each of the two products."""
    last: Annotated[int, Bound(ge=1)] = 1
    """Number of last items of a history that the second product reads, by their mean."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.01
    """Standard deviation of the start values."""
    length: Annotated[int, Bound(ge=1)] = 50
    """Number of targets of a training window. The first targets of a window read fewer than `last`
    items, those within it."""
    windows: Windows = "all"
    """Training histories longer than `length`. last: the last events. all: consecutive windows
    train each event once."""
    batch_of: BatchOf = "positions"
    """What train.batch_size counts: positions, or histories."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stream()

    def stream(self) -> Sequences:
        """Return what the batches of the training hold: histories of users."""
        return Sequences(self.length, self.sampler, self.windows, "user", self.batch_of)

    def build(self, train: Dataset) -> Network:
        return _FPMC(self, train)


class _FPMC(Network):
    def __init__(self, recipe: FPMC, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.stored = StoredHistories.of(train.log, recipe.last, times=False)
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.previous = embedding(train.n_items, recipe.dim, recipe.init_std)
        self.item = embedding(train.n_items, 2 * recipe.dim, recipe.init_std)
        self.rows = (self.user, self.previous, self.item)

    @property
    def stream(self) -> Sequences:
        return self.recipe.stream()

    def loss(self, batch: SequenceBatch) -> Terms:
        assert batch.neg is not None
        user, previous = self.user(batch.owner), self.previous(batch.item)
        chain = trailing_mean(previous, batch.groups, self.recipe.last)
        query = torch.cat([_of_positions(user, batch.groups), chain], 1)
        n, is_pool = len(batch), batch.neg.dim() == 1
        drawn = batch.neg if is_pool or self.item.sparse else batch.neg[:0].reshape(-1)
        items = self.item(torch.cat([batch.target, drawn.reshape(-1)]))
        target, negatives = items[:n], items[n:]
        if is_pool:
            neg = query @ negatives.T
        elif self.item.sparse:  # so is its gradient, which only a look-up has
            neg = torch.einsum("td,tkd->tk", query, negatives.view(*batch.neg.shape, -1))
        else:
            neg = own_scores(query, self.item.weight, batch.neg)
        return pair_terms(
            self.recipe.loss,
            (query * target).sum(1),
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=self._l2(n, user, previous, items),
        )

    def _l2(self, size: int, *parts: Tensor) -> Tensor | None:
        return self.recipe.l2 / size * half_square(*parts) if self.recipe.l2 else None

    def scorer(self) -> ChainFactors:
        tables = frozen(self.user), frozen(self.previous), frozen(self.item)
        return ChainFactors(*tables, self.stored)


def trailing_mean(x: Tensor, groups: Groups, last: int) -> Tensor:
    """Return of each position the mean of it and the ones before it in its history, float [T, d].

    Args:
        x: float [T, d].
        groups: the histories.
        last: number of positions in a mean; fewer at the start of a history.
    """
    last = min(last, groups[-1][0])
    if last == 1:
        return x
    place = place_from_start(groups, x.device)
    total = x
    for back in range(1, last):
        total = total + torch.roll(x, back, 0) * (place >= back)[:, None]
    return total / (place + 1).clamp_max(last)[:, None]


def _of_positions(vectors: Tensor, groups: Groups) -> Tensor:
    """Return the vector of its history for each position, [T, d], of vectors [B, d]."""
    parts = torch.split(vectors, [count for _, count in groups])
    lengths = [length for length, _ in groups]
    return torch.cat([part.repeat_interleave(n, 0) for part, n in zip(parts, lengths, strict=True)])
