"""The network that SimGCL and XSimGCL share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.data.types import Dataset
from recsys.models._base import Network
from recsys.nn.distinct import counted, distinct, once
from recsys.nn.graph import mean_layers, normalised_adjacency
from recsys.nn.infonce import contrast
from recsys.nn.losses import Logits, pair_terms
from recsys.nn.scores import pair_scores
from recsys.nn.sparse_product import product
from recsys.nn.tables import half_square
from recsys.sampling import Batch
from recsys.scorer import Factors

__all__ = ["GraphContrast", "Rows"]


class Rows:
    """The distinct nodes of a batch, and the indices among them of its users and items.

    Args:
        batch: pairs with negatives.
        n_users, n_items: numbers of nodes; users come first.

    Attributes:
        nodes: int64 [R], distinct users in ascending order, then distinct items.
        user, pos, neg: indices into `nodes`, shaped as in the batch.
        contrasted: indices of the distinct users and of the distinct positives, each with their
            weights, see `recsys.nn.distinct`.
    """

    def __init__(self, batch: Batch, n_users: int, n_items: int) -> None:
        users, (self.user,) = distinct(batch.user, n=n_users)
        items, (pos, neg) = distinct(batch.pos, batch.neg, n=n_items)
        self.pos, self.neg = pos + len(users), neg + len(users)
        self.nodes = torch.cat([users, n_users + items])
        parts = (counted(at, len(self.nodes)) for at in (self.user, self.pos))
        self.contrasted = [(at, once(count)) for at, count in parts]


class GraphContrast(Network):
    """A table of nodes, the training graph, the loss of the pairs, and the scorer."""

    adjacency: Tensor

    def __init__(self, recipe: Any, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        self.nodes = nn.Embedding(train.n_users + train.n_items, recipe.dim)
        with torch.no_grad():
            for part in torch.split(self.nodes.weight, [train.n_users, train.n_items]):
                nn.init.xavier_uniform_(part)
        self.register_buffer("adjacency", normalised_adjacency(train.pairs), persistent=False)

    def pairs(self, batch: Batch, rows: Rows, vectors: Tensor) -> tuple[Tensor, Logits | None]:
        """Return the loss of each pair [B], and the logits if the loss is by labels.

        Args:
            batch: pairs with negatives.
            rows: the nodes of the batch.
            vectors: of these nodes, [R, d].
        """
        user, item, negatives = (F.embedding(at, vectors) for at in (rows.user, rows.pos, rows.neg))
        pos, neg = pair_scores(batch, user, item, negatives)
        terms = pair_terms(
            self.recipe.loss, pos, neg, n_items=self.n_items, mask=batch.mask, log_q=batch.log_q
        )
        return terms.pair, terms.logits

    def extra(self, batch: Batch, rows: Rows, one: Tensor, other: Tensor, zeroth: Tensor) -> Tensor:
        """Return the contrast of two views plus the regularisation, a scalar.

        Args:
            batch: pairs with negatives.
            rows: the nodes of the batch.
            one, other: two views of these nodes, [R, d] each.
            zeroth: layer 0 at these nodes, [R, d].
        """
        recipe = self.recipe
        total = zeroth.new_zeros(())
        if recipe.contrast:
            parts = [
                contrast(
                    one.index_select(0, at), other.index_select(0, at), recipe.temperature, weight
                )
                for at, weight in rows.contrasted
            ]
            total = recipe.contrast * (parts[0] + parts[1])
        if recipe.l2:
            index = torch.cat([rows.user, rows.pos, rows.neg.reshape(-1)])
            total = total + recipe.l2 / len(batch) * half_square(F.embedding(index, zeroth))
        return total

    def scorer(self) -> Factors:
        """Return the mean of layers 1..L without noise."""
        start = self.nodes.weight.detach()
        vectors = mean_layers(
            self.adjacency, product(self.adjacency, start), self.recipe.layers - 1
        )
        return Factors(vectors[: self.n_users].clone(), vectors[self.n_users :].clone())
