"""CDAE: what a user has met, with some of it hidden, and a vector of the user are to give back what was met.

Symbols: x_u the row of user u in {0, 1}^items, x~_u the same with each 1 set to 0 with probability `dropout` and else divided by
1 - dropout; W [items, dim], V [users, dim], b in R^dim the way in; W' [items, dim], b' in R^items the way out.

    h_u = tanh(W^T x~_u + V_u + b),   s(u, i) = W'_i . h_u + b'_i

Objective: mean over observed pairs (u, i) of -log sigmoid(s(u, i)) + mean over sampled negatives j of -log(1 - sigmoid(s(u, j))); every batch sees
each of its users with something else hidden. `loss` may be another. With `normalise` a 1 of x_u counts (d_u d_i)^(-1/4), d_u and d_i the numbers of
training pairs of user and item: divided by the root of the norms of its row and its column.
Source: Wu, DuBois, Zheng, Ester, "Collaborative denoising auto-encoders for top-N recommender systems", WSDM 2016. tanh, 32 hidden
units, half of the input hidden, `normalise` and binary cross-entropy against one sampled negative a pair are the form in which denoising studies
use it as a backbone (DCF, KDD 2024; the SIGIR 2025 re-evaluation).

What is ranked is an inner product: h_u, with nothing hidden, with W', plus b'.

Differs: trained on batches of pairs, so that a denoiser meets each pair by itself, where the studies take whole users with as many negatives as
positives; the released path of DCF puts probabilities into a loss for logits and does not run, so which of its details are behind published
numbers is not known; the start, Xavier for all tables and 0 for the biases, is RECONSTRUCTED.
Should reproduce (binary cross-entropy, mean over three seeds of the SIGIR 2025 re-evaluation, whose code hides 0.2): recall@20 / ndcg@20 0.3100 /
0.1776 on Adressa.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.feature_layers import distinct
from recsys.nn.histories import Histories
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["CDAE"]

_BLOCK = 4096  # users whose histories are gathered at a time


@settings
class CDAE(NeedsNegatives):
    """Collaborative denoising auto-encoder: a user's items, some hidden, and a user vector give back all (Wu et al., WSDM 2016)."""

    dim: Annotated[int, Bound(ge=1)] = 32
    """Hidden units."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of a user's items that are hidden in a step."""
    normalise: bool = True
    """Let an item count less in a long history, and the less the more users it has; off: all count 1."""
    loss: Loss = Loss(kind="bce")
    sampler: Sampler = Sampler()

    def build(self, train: Dataset) -> Network:
        return _CDAE(self, train)


class _CDAE(Network):
    by_user: Tensor
    by_item: Tensor

    def __init__(self, recipe: CDAE, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        users, items, dim = train.n_users, train.n_items, recipe.dim
        self.user = embedding(users, dim, (2 / (users + dim)) ** 0.5)
        self.input, self.output = (
            embedding(items, dim, (2 / (items + dim)) ** 0.5) for _ in range(2)
        )
        self.hidden_bias = torch.nn.Parameter(torch.zeros(dim))
        self.bias = torch.nn.Parameter(torch.zeros(items))
        self.rows = (self.user, self.output)
        self.histories = Histories(train.pairs)
        for name, axis in (("by_user", 1), ("by_item", 0)):
            count = np.asarray(train.pairs.csr.sum(axis), dtype=np.float64).ravel()
            scale = np.maximum(count, 1) ** -0.25 if recipe.normalise else np.ones(len(count))
            self.register_buffer(name, torch.from_numpy(scale).float(), persistent=False)

    def loss(self, batch: Batch) -> Terms:
        pos, neg = self.logits(batch)
        return pair_terms(
            self.recipe.loss, pos, neg, n_items=len(self.bias), mask=batch.mask, log_q=batch.log_q
        )

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the pairs [B] and of their negatives [B, K]: s."""
        users, (at,) = distinct(batch.user, n=len(self.user.weight))
        hidden = F.embedding(at, self._hidden(users))
        items = self.output(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        pos, neg = pair_scores(batch, hidden, items[: len(batch)], items[len(batch) :])
        return pos + self.bias[batch.pos], neg + self.bias[batch.neg]

    def _hidden(self, user: Tensor) -> Tensor:
        """The hidden layer of users [B], [B, dim]; in training with some of their items left out."""
        item, owner, first = self.histories.of(user)
        keep = 1.0
        if self.training and self.recipe.dropout:
            keep = 1 - self.recipe.dropout
            left = (torch.rand(len(item), device=item.device) < keep).nonzero()[:, 0]
            item, owner = item.index_select(0, left), owner.index_select(0, left)
            first = torch.searchsorted(owner, torch.arange(len(user), device=owner.device))
        value, table = self.by_user[user[owner]] * self.by_item[item] / keep, self.input.weight
        met = F.embedding_bag(
            item, table, first, mode="sum", per_sample_weights=value.to(table.dtype)
        )
        return torch.tanh(met + self.user(user) + self.hidden_bias)

    @torch.no_grad()
    def scorer(self) -> Factors:
        training, users = (
            self.training,
            torch.arange(len(self.user.weight), device=self.bias.device),
        )
        self.eval()
        hidden = torch.cat([self._hidden(block) for block in torch.split(users, _BLOCK)])
        self.train(training)
        return Factors(hidden, frozen(self.output), item_bias=frozen(self.bias))
