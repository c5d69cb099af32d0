"""SimpleX: a user vector plus the user's items, with a cosine contrastive loss and many negatives.

Symbols: p_u, q_i are vectors of user u and item i in R^dim, I_u the training items of u (at most
`history` of them), V, K [dim, dim] and b, w in R^dim are learned, g = `own`.

    z_u = g p_u + (1 - g) V sum_{i in I_u} a_ui q_i,
    a_ui = 1 / |I_u| ("mean"),
           softmax over I_u of tanh(K q_i + b) . p_u ("user"),
           softmax over I_u of tanh(K q_i + b) . w ("self")

    s(u, i) = dropout(z_u / |z_u|) . q_i / |q_i|

Objective: mean over observed pairs (u, i) of [1 - s(u, i)]+ + weight * mean over sampled negatives
j of [s(u, j) - margin]+ + l2 / 2 * squared norms of all p and q. The history of u contains the item
i of the pair. Items are ranked by the cosine of z_u and q_i. With own = 0 and an aggregate other
than "user", p has no part in z, so a history that comes after training is ranked as one of
training.

Source: Mao, Zhu, Wang, Dai, Dong, Xiao, He, "SimpleX: a simple and strong baseline for
collaborative filtering", CIKM 2021. Dropout, the form of the two attentions and the start N(0,
1e-8), Xavier for V, K, w, are those of the released code.

Differs: the negatives are one pool that the batch shares, where the code draws them for each pair
(`sampler.pool = "own"`, at the price of B x negatives vectors a step). Attention weights are not
dropped out. Of a longer history the last `history` pairs of the training data are kept. The
optional biases of the code are left out. own = 1 is MF-CCL.

The defaults are the setting of Amazon-Book (lr 1e-3, batch 1024). Should reproduce (LightGCN
splits, selected on test, from the BARS leaderboard): recall@20 / ndcg@20 on Amazon-Book 0.0583 /
0.0468; on Gowalla 0.1872 / 0.1557 with aggregate "user", own 0.8, 2000 negatives, margin 0.9,
weight 250, l2 1e-7, lr 1e-4, batch 256; on Yelp2018 0.0701 / 0.0575 with own 1, 1000 negatives,
margin 0.9, weight 150, l2 1e-8, lr 1e-4, batch 512.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.feature_layers import layer
from recsys.nn.histories import Histories
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler, to_device
from recsys.scorer import Factors
from recsys.scorer.history_encoder import HistoryEncoder

__all__ = ["SimpleX"]

_BLOCK = 4096  # users whose histories are gathered at a time


@settings
class SimpleX(NeedsNegatives):
    """User vector plus the user's items, cosine contrastive loss (Mao et al., CIKM 2021)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    own: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of a user's vector, gamma of the paper; the history has the rest."""
    aggregate: Literal["mean", "user", "self"] = "mean"
    """Weights of the items of a history: equal, by attention of the user, or by attention of a
    query that all users share."""
    history: Annotated[int, Bound(ge=1)] = 500
    """Maximum number of items of a user."""
    loss: Loss = Loss(kind="ccl", margin=0.4, weight=300.0)
    sampler: Sampler = Sampler(negatives=1000, pool="shared")
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.1
    """Share of the coordinates of a user that are set to 0 in a step."""
    l2: Annotated[float, Bound(ge=0)] = 1e-6
    """Weight of half the squared norms of all vectors, in the batch or not."""
    init_std: Annotated[float, Bound(gt=0)] = 1e-4
    """Standard deviation of the start values of the vectors."""

    def build(self, train: Dataset) -> Network:
        return _SimpleX(self, train)


class _SimpleX(Network):
    def __init__(self, recipe: SimpleX, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        dim = recipe.dim
        self.user = embedding(train.n_users, dim, recipe.init_std)
        self.item = embedding(train.n_items, dim, recipe.init_std)
        if recipe.own < 1:
            self.histories = Histories(train.pairs, recipe.history)
            self.value = nn.Linear(dim, dim, bias=False)
            nn.init.xavier_normal_(self.value.weight)
            if recipe.aggregate != "mean":
                self.key = nn.Linear(dim, dim)
                nn.init.xavier_normal_(self.key.weight)
                nn.init.zeros_(self.key.bias)
            if recipe.aggregate == "self":
                self.query = nn.Parameter(torch.randn(dim) * (2 / (dim + 1)) ** 0.5)
        if recipe.own == 1 and not recipe.l2:
            self.rows = (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe, size = self.recipe, len(batch)
        user = F.dropout(
            F.normalize(self._vectors(batch.user, batch.user_on_host), dim=-1),
            recipe.dropout,
            self.training,
        )
        items = F.normalize(self.item(torch.cat([batch.pos, batch.neg.reshape(-1)])), dim=-1)
        item, negatives = items[:size], items[size:]
        pos, neg = pair_scores(batch, user, item, negatives)
        extra = recipe.l2 * half_square(self.user.weight, self.item.weight) if recipe.l2 else None
        return pair_terms(
            recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=extra,
        )

    def _vectors(self, user: Tensor, on_host: Tensor | None = None) -> Tensor:
        """Return the vectors z of users [B], [B, d]; `on_host`: them on the CPU."""
        own = self.user(user)
        if self.recipe.own == 1:
            return own
        item, owner, first = self.histories.of(user if on_host is None else on_host)
        if self.recipe.aggregate == "mean":
            mixed = F.embedding_bag(item, self.item.weight, first, mode="mean")
        else:
            share = self._attention(own, item, owner, first)
            mixed = F.embedding_bag(
                item,
                self.item.weight,
                first,
                mode="sum",
                per_sample_weights=share.to(self.item.weight.dtype),
            )
        return self.recipe.own * own + (1 - self.recipe.own) * self.value(mixed)

    def _attention(self, own: Tensor, item: Tensor, owner: Tensor, first: Tensor) -> Tensor:
        """Return the softmax of the logits of each history, [P]; it sums to 1 for each user.

        Rows are gathered and summed by embedding operations, whose gradients are deterministic on
        accelerators, too.

        Args:
            own: vectors of the users, [B, d].
            item: items of the users, one user after the other, int64 [P].
            owner: index of the user of each item, int64 [P], ascending.
            first: index of the first item of each user, int64 [B].
        """
        keys = torch.tanh(self.key(F.embedding(item, self.item.weight)))
        by_user = self.recipe.aggregate == "user"
        logits = (keys * F.embedding(owner, own)).sum(-1) if by_user else keys @ self.query
        highest = logits.new_full((len(own),), -torch.inf).scatter_reduce(
            0, owner, logits.detach(), "amax"
        )
        raised = (logits - highest[owner]).exp()[:, None]
        total = F.embedding_bag(
            torch.arange(len(item), device=item.device), raised, first, mode="sum"
        )
        return (raised / F.embedding(owner, total)).squeeze(1)

    @torch.no_grad()
    def scorer(self) -> Factors:
        on_host = torch.split(torch.arange(len(self.user.weight)), _BLOCK)
        device = self.user.weight.device
        vectors = torch.cat([self._vectors(to_device(part, device), part) for part in on_host])
        return Factors(vectors.clone(), frozen(self.item), "cosine", encoder=self._encoder())

    def _encoder(self) -> HistoryEncoder | None:
        """Return the map from a history to z as a value; None if z depends on the user's vector."""
        if self.recipe.own > 0 or self.recipe.aggregate == "user":
            return None
        table, weight = frozen(self.item), None
        if self.recipe.aggregate == "self":
            logits = torch.tanh(self.key(table)) @ self.query
            weight = (logits - logits.max()).exp()
        return HistoryEncoder(
            table, power=1.0, weight=weight, layers=(layer(self.value),), last=self.recipe.history
        )
