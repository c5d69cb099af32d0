"""CDAE: reconstruct a user's interactions from a corrupted copy of them and a user vector.

Symbols: x_u is the row of user u in {0, 1}^items. x~_u is x_u with each 1 set to 0 with probability
`dropout` and otherwise divided by 1 - dropout. W [items, dim], V [users, dim] and b in R^dim are
the encoder; W' [items, dim] and b' in R^items are the decoder.

    h_u = tanh(W^T x~_u + V_u + b),   s(u, i) = W'_i . h_u + b'_i

Objective: mean over observed pairs (u, i) of -log sigmoid(s(u, i)) + mean over sampled negatives j
of -log(1 - sigmoid(s(u, j))). Every batch corrupts the interactions of its users again. `loss` may
be another one. With `normalise` a 1 of x_u counts (d_u d_i)^(-1/4), where d_u and d_i are the
numbers of training interactions of user and item: it is divided by the roots of the norms of its
row and its column.

Source: Wu, DuBois, Zheng, Ester, "Collaborative denoising auto-encoders for top-N recommender
systems", WSDM 2016. tanh, 32 hidden units, half of the input hidden, `normalise` and binary
cross-entropy against one sampled negative per pair are the form in which denoising studies use it
as a backbone (DCF, KDD 2024; the SIGIR 2025 re-evaluation).

Items are ranked by an inner product: h_u, computed without corruption, with W', plus b'. Every user
has a V_u that training found, and the paper defines no h without one, so a history that comes after
training is not answered.

Differs: it is trained on batches of pairs, so that a denoiser sees each pair alone, while the
studies take whole users with as many negatives as positives. The released path of DCF puts
probabilities into a loss for logits and does not run, so it is unknown which of its details are
behind the published numbers. The start values, Xavier for all tables and 0 for the biases, are
RECONSTRUCTED.

Should reproduce (binary cross-entropy, mean over three seeds of the SIGIR 2025 re-evaluation, whose
code hides 0.2): recall@20 / ndcg@20 0.3100 / 0.1776 on Adressa.
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
from recsys.nn.distinct import distinct
from recsys.nn.histories import Histories
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler, to_device
from recsys.scorer import Factors

__all__ = ["CDAE"]

_BLOCK = 4096  # users whose histories are gathered at a time


@settings
class CDAE(NeedsNegatives):
    """Denoising auto-encoder of a user's items with a user vector (Wu et al., WSDM 2016)."""

    dim: Annotated[int, Bound(ge=1)] = 32
    """Number of hidden units."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of a user's items that are hidden in a step."""
    normalise: bool = True
    """Weight an item less the longer the history is and the more users the item has; false: all
    items count 1."""
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
        users, items = train.n_users, train.n_items
        dim = recipe.dim
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
        """Return s of the pairs [B] and of their negatives [B, K]."""
        users, (at,) = distinct(batch.user_on_host, n=len(self.user.weight))
        hidden = F.embedding(to_device(at, batch.user.device), self._hidden(users))
        items = self.output(torch.cat([batch.pos, batch.neg.reshape(-1)]))
        pos, neg = pair_scores(batch, hidden, items[: len(batch)], items[len(batch) :])
        return pos + self.bias[batch.pos], neg + self.bias[batch.neg]

    def _hidden(self, user: Tensor) -> Tensor:
        """Return the hidden layer of users [B], [B, dim]; in training, of corrupted histories.

        The users are on the CPU.
        """
        item, owner, first = self.histories.of(user)
        user = to_device(user, item.device)
        keep, kept = 1.0, None
        if self.training and self.recipe.dropout:
            keep = 1 - self.recipe.dropout
            kept = torch.rand(len(item), device=item.device) < keep
            if item.device.type == "cpu":
                # An accelerator would have to be waited for to know how many are kept.
                index, kept = kept.nonzero()[:, 0], None
                item, owner = item.index_select(0, index), owner.index_select(0, index)
                first = torch.searchsorted(owner, torch.arange(len(user)))
        value, table = self.by_user[user[owner]] * self.by_item[item] / keep, self.input.weight
        value = value if kept is None else value * kept
        history = F.embedding_bag(
            item, table, first, mode="sum", per_sample_weights=value.to(table.dtype)
        )
        return torch.tanh(history + self.user(user) + self.hidden_bias)

    @torch.no_grad()
    def scorer(self) -> Factors:
        users = torch.arange(len(self.user.weight))
        training = self.training
        self.eval()
        hidden = torch.cat([self._hidden(block) for block in torch.split(users, _BLOCK)])
        self.train(training)
        return Factors(hidden, frozen(self.output), item_bias=frozen(self.bias))
