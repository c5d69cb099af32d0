"""CLCRec: align an item's features with its collaborative vector, so that new items can be ranked.

Symbols: e_u and e_i are learned. g(f) = W_2 leaky-relu(W_1 f) maps the features of an item, all
modalities concatenated. A pair (u, i) has K sampled negatives j; x runs over i and all j.
Objective: mean over observed pairs of

    share * -log( exp(cos(e_i, g_i) / t) / sum over x of exp(cos(e_i, g_x) / t) )
    + (1 - share) * -log( exp(e_u . y_i / t') / sum over x of exp(e_u . y_x / t') )
    + l2 / 2 * (|e_u| + |e_i|),

where y_x = g_x with probability `mixed` and e_x otherwise, drawn for each x of each pair; the norms
are not squared. Score: e_u . e_i for an item with a training interaction, e_u . g_i for one
without.

Source: Wei, Wang, Li, Nie, Li, Li, Chua, "Contrastive learning for cold-start recommendation", MM
2021.

The released settings: on MovieLens share 0.5, temperature 2, 128 negatives, l2 0.1; on Amazon share
0.9, 512 negatives, l2 0.001.

Differs from the released code: new items are those without a training interaction; there, those
with the highest numbers. The temperature of the second term is a separate setting, equal to that of
the first by default (RECONSTRUCTED). The slope of the leaky ReLU (0.01, the default of torch) and
the use of raw features are also RECONSTRUCTED. Others report on Amazon Baby in another split than
MMRec's: recall@20 0.0610, ndcg@20 0.0284. Not run here.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import similarity
from recsys.nn.distinct import distinct
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    chain_of_all,
    layer,
    reader,
    side_by_side,
    warm_items,
)
from recsys.nn.losses import Terms
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.scores import negative_scores
from recsys.nn.tables import xavier
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["CLCRec"]


@settings
class CLCRec(NeedsNegatives):
    """Item features aligned with item vectors by contrast, for new items (Wei et al., MM 2021)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    hidden: Annotated[int, Bound(ge=1)] = 256
    """Width of the hidden layer of the feature map."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of the contrast between features and items; the contrast between users and items has
    the rest."""
    mixed: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Probability that an item is represented by its features in the contrast with users."""
    temperature: Annotated[float, Bound(gt=0)] = 2.0
    """Temperature of the contrast between features and items, by cosine."""
    user_temperature: Annotated[float, Bound(gt=0)] = 2.0
    """Temperature of the contrast between users and items, by inner product (RECONSTRUCTED)."""
    sampler: Sampler = Sampler(negatives=128)
    """pool = "shared" draws the negatives once per batch, which is several times faster."""
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm) or from all items. With all, the
    features of new items learn to push users away."""
    l2: Annotated[float, Bound(ge=0)] = 0.1
    """Weight of the norms, which are not squared."""
    scale: Scale = "none"
    """row: scale every row of a modality to length 1."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

    def build(self, train: Dataset) -> Network:
        return _CLCRec(self, train)


class _CLCRec(Network):
    new: Tensor

    def __init__(self, recipe: CLCRec, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.user, self.item = xavier(train.n_users, recipe.dim), xavier(train.n_items, recipe.dim)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        self.features = Table(side_by_side(self.read(train.features)), train=False)
        self.told = nn.Sequential(
            nn.Linear(self.features.width, recipe.hidden),
            nn.LeakyReLU(),
            nn.Linear(recipe.hidden, recipe.dim),
        )
        self.rows = (self.user, self.item)
        self.register_buffer(
            "new", torch.from_numpy(~warm_items(train)).nonzero().view(-1), persistent=False
        )

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.item.num_embeddings)
        own, by_features = self.item(items), self.told(self.features(items))
        user, item = self.user(batch.user), F.embedding(pos_at, own)
        # Items are scored by vector and by features; a random draw decides which of them counts.
        own_scores, feature_scores = (
            self._scores(batch, user, table, pos_at, neg_at) / recipe.user_temperature
            for table in (own, by_features)
        )
        coin = torch.rand(own_scores.shape, device=own_scores.device) < recipe.mixed
        scores = torch.where(coin, feature_scores, own_scores)
        pair = (1 - recipe.share) * _contrast(scores, batch.mask)
        if recipe.share:
            alike = (
                self._scores(
                    batch, F.normalize(item, dim=1), F.normalize(by_features, dim=1), pos_at, neg_at
                )
                / recipe.temperature
            )
            pair = pair + recipe.share * _contrast(alike, batch.mask)
        extra = (
            recipe.l2 / 2 * (user.norm(dim=1).mean() + item.norm(dim=1).mean())
            if recipe.l2
            else None
        )
        return Terms(pair, extra)

    def _scores(
        self, batch: Batch, anchor: Tensor, table: Tensor, pos_at: Tensor, neg_at: Tensor
    ) -> Tensor:
        """Return inner products of anchors [B, d] with positives and negatives, [B, 1 + K]."""
        neg = negative_scores(batch, anchor, F.embedding(neg_at, table))
        pos = similarity("dot", anchor, F.embedding(pos_at, table))
        return torch.cat([pos[:, None], neg], dim=1)

    @torch.no_grad()
    def scorer(self) -> Factors:
        item = self.item.weight.clone()
        item[self.new] = self.told(self.features(self.new))
        content = chain_of_all(self.read, layer(self.told[0], "leaky-relu"), layer(self.told[2]))
        return Factors(self.user.weight.clone(), item, content=content)


def _contrast(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the cross-entropy of the first column [B] of scores [B, 1 + K].

    Negatives that the mask [B, K] excludes do not count.
    """
    if mask is not None:
        scores = torch.cat([scores[:, :1], scores[:, 1:].masked_fill(~mask, -torch.inf)], dim=1)
    return scores.logsumexp(1) - scores[:, 0]
