"""GMF: generalised matrix factorisation, an inner product with a learned weight per coordinate.

Symbols: user u and item i have vectors p_u, q_i in R^dim; a in R^dim are the output weights, c the
output bias; * is the product by coordinate.

    s(u, i) = a . (p_u * q_i) + c

Objective: mean over observed pairs (u, i) of -log sigmoid(s(u, i)) + mean over sampled negatives j
of -log(1 - sigmoid(s(u, j))) + l2 / (2 B) * (|p_u|^2 + |q_i|^2 + sum_j |q_j|^2), where B is the
number of pairs of the batch. `loss` may be another one.

Source: He, Liao, Zhang, Nie, Hu, Chua, "Neural collaborative filtering", WWW 2017, equation 9 with
the logistic output. dim 32 and one negative per pair are the setting of the denoising studies that
use it as a backbone (Wang, Feng, He, Nie, Chua, "Denoising implicit feedback for recommendation",
WSDM 2021); 4 negatives are that of the paper.

Since a . (p * q) = (a * p) . q, items are ranked by an inner product.

Differs: a denoising study takes the mean over positives and negatives together, half of the
objective here with one negative per pair; this makes no difference to Adam. The start values are
those of the studies: N(0, 0.01^2) for vectors, U(-sqrt(3 / dim), sqrt(3 / dim)) for a, 0 for c.

Should reproduce (Yelp, Amazon-Book and Adressa with ratings below 3 or short visits as noise, plain
binary cross-entropy, batch 1024, lr 1e-3): recall@50 0.0840 / 0.0609 on Yelp / Amazon-Book and
recall@20 0.2141 on Adressa, from the training logs of the WSDM 2021 authors; 0.2178 on Adressa in
the mean over three seeds of the SIGIR 2025 re-evaluation. The public copy of their data lacks all
three train files.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.losses import Loss, Terms, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen, half_square
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["GMF"]


@settings
class GMF(NeedsNegatives):
    """An inner product with learned weights, trained on labels (He et al., WWW 2017)."""

    dim: Annotated[int, Bound(ge=1)] = 32
    """Embedding dimension."""
    loss: Loss = Loss(kind="bce")
    sampler: Sampler = Sampler()
    l2: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the squared norms of the rows of a batch."""
    init_std: Annotated[float, Bound(gt=0)] = 0.01
    """Standard deviation of the start values of the vectors."""

    def build(self, train: Dataset) -> Network:
        return _GMF(self, train)


class _GMF(Network):
    def __init__(self, recipe: GMF, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.item = embedding(train.n_items, recipe.dim, recipe.init_std)
        self.rows = (self.user, self.item)
        bound = (3 / recipe.dim) ** 0.5
        self.output = torch.nn.Parameter(torch.empty(recipe.dim).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user, items = self._looked_up(batch)
        pos, neg = self._logits(batch, user, items)
        extra = recipe.l2 / len(batch) * half_square(user, items) if recipe.l2 else None
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
        return self._logits(batch, *self._looked_up(batch))

    def _looked_up(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.user(batch.user), self.item(torch.cat([batch.pos, batch.neg.reshape(-1)]))

    def _logits(self, batch: Batch, user: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        item, negatives = items[: len(batch)], items[len(batch) :]
        pos, neg = pair_scores(batch, user * self.output, item, negatives)
        return pos + self.bias, neg + self.bias

    def scorer(self) -> Factors:
        """Return factors whose scores are logits.

        The weights a go into the user vectors, and c is the bias of every item.
        """
        user, item = self.user.weight.detach() * self.output.detach(), frozen(self.item)
        return Factors(user, item, item_bias=self.bias.detach().repeat(len(item)))
