"""NeuMF: a weighted inner product plus a tower of layers over user and item.

Symbols: user u and item i have two vectors each, p_u, q_i in R^dim for the product and p'_u, q'_i
in R^(dim 2^(depth - 1)) for the tower. Each of its `depth` layers halves its input, so that it ends
at dim: h_0 = [p'_u ; q'_i], h_l = relu(W_l h_(l-1) + b_l). With output weights a, a' in R^dim and
bias c,

    s(u, i) = a . (p_u * q_i) + a' . h_depth + c

Objective: mean over observed pairs (u, i) of -log sigmoid(s(u, i)) + mean over sampled negatives j
of -log(1 - sigmoid(s(u, j))) + l2 / (2 B) * squared norms of all vectors of the batch, B its pairs.
`loss` may be another one.

Source: He, Liao, Zhang, Nie, Hu, Chua, "Neural collaborative filtering", WWW 2017, equation 12;
without pre-training ("NeuMF-end"). dim 32, depth 3 and one negative per pair are the setting of the
denoising studies that use it as a backbone (Wang et al., WSDM 2021): tables of 128 and a tower of
256, 128, 64, 32. The paper's is dim 8, 4 negatives, batch 256, lr 1e-3.

The first layer is the sum of a product with p'_u and one with q'_i. Each is computed once for a
user or an item, regardless of how often it occurs in a batch, and `recsys.scorer.Deep` ranks
without concatenating a user and an item.

Differs: a denoising study takes the mean over positives and negatives together, half of the
objective here with one negative per pair; this makes no difference to Adam. Dropout hides the same
coordinates of a vector throughout a batch, and different ones of every pair in the layers above.
The start values are those of the studies: N(0, 0.01^2) for vectors, Xavier for the tower, U(-sqrt(3
/ (2 dim)), sqrt(3 / (2 dim))) for a and a', 0 for every bias.

Should reproduce (binary cross-entropy, batch 1024, lr 1e-3): recall@50 0.0750 / 0.0512 on Yelp /
Amazon-Book and recall@20 0.3159 on Adressa, from the training logs of the WSDM 2021 authors; 0.3119
on Adressa in the mean over three seeds of the SIGIR 2025 re-evaluation.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import distinct
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Deep

__all__ = ["NeuMF"]


@settings
class NeuMF(NeedsNegatives):
    """A weighted inner product plus a tower of layers over user and item (He et al., WWW 2017)."""

    dim: Annotated[int, Bound(ge=1)] = 32
    """Length of a vector of the product, and of the last layer of the tower."""
    depth: Annotated[int, Bound(ge=1, le=8)] = 3
    """Number of layers of the tower; its vectors have length dim * 2^(depth - 1)."""
    loss: Loss = Loss(kind="bce")
    sampler: Sampler = Sampler()
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.0
    """Share of the input of every layer of the tower that is set to 0 in a step."""
    l2: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the squared norms of the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.01
    """Standard deviation of the start values of the vectors."""

    def build(self, train: Dataset) -> Network:
        return _NeuMF(self, train)


class _NeuMF(Network):
    def __init__(self, recipe: NeuMF, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        wide = recipe.dim * 2 ** (recipe.depth - 1)
        # A row holds the vector of the product, then that of the tower: one lookup for both.
        self.user = embedding(train.n_users, recipe.dim + wide, recipe.init_std)
        self.item = embedding(train.n_items, recipe.dim + wide, recipe.init_std)
        self.rows = (self.user, self.item)
        self.tower = nn.ModuleList(
            nn.Linear(2 * wide >> layer, wide >> layer) for layer in range(recipe.depth)
        )
        for layer in self._tower():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        bound = (3 / (2 * recipe.dim)) ** 0.5
        self.output = nn.Parameter(torch.empty(2 * recipe.dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(()))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        (user, item), (user_at, pos_at, neg_at) = self._looked_up(batch)
        pos, neg = self._logits(batch, user, item, user_at, pos_at, neg_at)
        extra = None
        if recipe.l2:
            extra = (
                recipe.l2
                / len(batch)
                * half_square(*map(F.embedding, (user_at, pos_at, neg_at), (user, item, item)))
            )
        return pair_terms(
            recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
            extra=extra,
        )

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return s of the pairs [B] and of their negatives [B, K]."""
        rows, index = self._looked_up(batch)
        return self._logits(batch, *rows, *index)

    def _looked_up(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """Return the rows of the distinct users and items of a batch.

        The second value is the index among them of its users, positives and negatives.
        """
        users, (user_at,) = distinct(batch.user, n=self.user.num_embeddings)
        items, index = distinct(batch.pos, batch.neg, n=self.item.num_embeddings)
        return (self.user(users), self.item(items)), (user_at, *index)

    def _logits(
        self,
        batch: Batch,
        user: Tensor,
        item: Tensor,
        user_at: Tensor,
        pos_at: Tensor,
        neg_at: Tensor,
    ) -> tuple[Tensor, Tensor]:
        # Each user and each item is transformed once, regardless of how often it is in the batch.
        a, tall = self.output[: self.recipe.dim], self.output[self.recipe.dim :]
        (user_short, user_long), (item_short, item_long) = (
            self._parts(rows) for rows in (user, item)
        )
        weighted = F.embedding(user_at, user_short * a)
        by_user = F.embedding(user_at, self._first(user_long, user=True))
        by_item = self._first(item_long, user=False)

        def added(product: Tensor, first: Tensor) -> Tensor:
            return product + self._rest(first) @ tall + self.bias

        pos, neg = pair_scores(
            batch, weighted, F.embedding(pos_at, item_short), F.embedding(neg_at, item_short)
        )
        return (
            added(pos, by_user + F.embedding(pos_at, by_item)),
            added(neg, by_user[:, None] + F.embedding(neg_at, by_item)),
        )

    def _tower(self) -> list[nn.Linear]:
        return [layer for layer in self.tower if isinstance(layer, nn.Linear)]

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of the product and those of the tower."""
        return rows[..., : self.recipe.dim], rows[..., self.recipe.dim :]

    def _first(self, vectors: Tensor, *, user: bool) -> Tensor:
        """Return the summand of vectors [.., wide] in the first layer, the user's with its bias."""
        layer, wide = self._tower()[0], vectors.shape[-1]
        vectors = F.dropout(vectors, self.recipe.dropout, self.training)
        if user:
            return F.linear(vectors, layer.weight[:, :wide], layer.bias)
        return F.linear(vectors, layer.weight[:, wide:])

    def _rest(self, first: Tensor) -> Tensor:
        """Return the output of the tower, [.., dim], from the first layer before its relu."""
        hidden = F.relu(first)
        for layer in self._tower()[1:]:
            hidden = F.relu(layer(F.dropout(hidden, self.recipe.dropout, self.training)))
        return hidden

    @torch.no_grad()
    def scorer(self) -> Deep:
        training, dim = self.training, self.recipe.dim
        self.eval()
        user, item = (self._parts(table.weight) for table in (self.user, self.item))
        parts = self._first(user[1], user=True), self._first(item[1], user=False)
        self.train(training)
        layers = tuple((frozen(layer.weight), frozen(layer.bias)) for layer in self._tower()[1:])
        a, tall = torch.split(self.output.detach(), dim)
        return Deep(user[0] * a, item[0].clone(), *parts, layers, tall.clone(), frozen(self.bias))
