"""VBPR: matrix factorisation in which half of an item's vector is a map of its features.

Symbols: f_i are the features of item i, all modalities concatenated; v_i = [g_i ; W f_i + c] in
R^(2 dim), g_i is learned; a user has p_u in R^(2 dim). Score: s(u, i) = p_u . v_i, plus b_i with
`item_bias` and plus b' . f_i with `content_bias`, as the paper has both (its b_u and its constant
change no ranking and no pair of this loss). Objective, with K sampled negatives j of a pair, B the
batch:

    mean over observed pairs of -log sigmoid(s(u, i) - s(u, j))
        +  l2 / B * (|P|_F + |V+|_F + |V-|_F),

where P, V+, V- are the vectors of the users, positives and negatives of the batch. Their norms are
not squared: this is the form of the released code of MMRec, whose grid for the weight is 2, 1, 0.1,
..., 1e-5. `norms = "squared"` is half the squared norms, as in matrix factorisation.

Source: He, McAuley, "VBPR: visual Bayesian personalized ranking from implicit feedback", AAAI 2016.

Differs from the paper: c, no bias by default, one map for all modalities; from MMRec: softplus
instead of -log(1e-10 + sigmoid).

Others report on MMRec's split of Amazon Baby: recall@10 / 20 0.0423 / 0.0663, ndcg@10 / 20 0.0223 /
0.0284. Not run here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    affine,
    chain_of_all,
    reader,
    side_by_side,
    warm_items,
)
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import pair_scores
from recsys.nn.tables import frozen, half_square, xavier
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors
from recsys.scorer.feature_encoder import ContentEncoder, Layer

__all__ = ["VBPR"]


@settings
class VBPR(NeedsNegatives):
    """Matrix factorisation with feature-based halves of item vectors (He, McAuley, AAAI 2016)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of each half of a vector."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm), as in the released code, or
    from all items."""
    l2: Annotated[float, Bound(ge=0)] = 0.1
    """Weight of the norms."""
    norms: Literal["released", "squared"] = "released"
    """released: norms of the matrices of a batch, not squared, over its pairs. squared: half of the
    squares, over its pairs."""
    item_bias: bool = False
    """Add a learned number per item to its scores (b_i of the paper)."""
    content_bias: bool = False
    """Add the product of the item's features with a learned vector to its scores (b' of the
    paper)."""
    new_items: Literal["id", "content"] = "id"
    """First half of the vector of an item without a training interaction: id for its start vector,
    as in the released code; content for zeros."""
    scale: Scale = "none"
    """row: scale every row of a modality to length 1."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _VBPR(self, train)


class _VBPR(Network):
    new: Tensor

    def __init__(self, recipe: VBPR, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.user = xavier(train.n_users, 2 * recipe.dim)
        self.item = xavier(train.n_items, recipe.dim)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        self.map = affine(self.features.width, recipe.dim, "xavier")
        nn.init.zeros_(self.map.bias)
        self.item_bias = nn.Parameter(torch.zeros(train.n_items)) if recipe.item_bias else None
        self.content_bias = (
            nn.Parameter(torch.zeros(self.features.width)) if recipe.content_bias else None
        )
        self.rows = (self.user, self.item)
        self.register_buffer(
            "new", torch.from_numpy(~warm_items(train)).nonzero().view(-1), persistent=False
        )

    def loss(self, batch: Batch) -> Terms:
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.item.num_embeddings)
        features = self.features(items)
        vectors = torch.cat([self.item(items), self.map(features)], dim=1)
        bias = self._bias(items, features)
        user = self.user(batch.user)
        item, negatives = F.embedding(pos_at, vectors), F.embedding(neg_at, vectors)
        pos, neg = pair_scores(batch, user, item, negatives)
        if bias is not None:
            pos, neg = pos + bias[pos_at], neg + bias[neg_at]
        pair = pair_loss(
            self.recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=batch.mask,
            log_q=batch.log_q,
        )
        return Terms(pair, self._extra(user, item, negatives) if self.recipe.l2 else None)

    def _bias(self, items: Tensor, features: Tensor) -> Tensor | None:
        """Return the sum of the biases of some items [R]; None if the method has none."""
        parts = [] if self.item_bias is None else [self.item_bias[items]]
        parts += [] if self.content_bias is None else [features @ self.content_bias]
        return torch.stack(parts).sum(0) if parts else None

    def _extra(self, user: Tensor, item: Tensor, negatives: Tensor) -> Tensor:
        weight = self.recipe.l2 / len(user)
        if self.recipe.norms == "squared":
            return weight * half_square(user, item, negatives)
        return weight * (user.norm() + item.norm() + negatives.norm())

    @torch.no_grad()
    def scorer(self) -> Factors:
        features, item = self.features.values, self.item.weight.clone()
        if self.recipe.new_items == "content":
            item[self.new] = 0
        every = torch.arange(len(item), device=item.device)
        vectors, bias = torch.cat([item, self.map(features)], dim=1), self._bias(every, features)
        return Factors(
            self.user.weight.clone(),
            vectors,
            item_bias=bias,
            content=self._content(),
            by_features=True,
        )

    def _content(self) -> ContentEncoder | None:
        """Return the map from features to the vector of a new item.

        None if a part of the vector is a start value, which later items do not have.
        """
        if self.recipe.new_items == "id":
            return None
        weight, offset = self.map.weight.detach(), self.map.bias.detach()
        # The first half of a vector does not depend on features and is zeros.
        whole = Layer(
            torch.cat([torch.zeros_like(weight), weight]),
            torch.cat([torch.zeros_like(offset), offset]),
        )
        bias = None if self.content_bias is None else Layer(frozen(self.content_bias)[None])
        return chain_of_all(self.read, whole, bias=bias)
