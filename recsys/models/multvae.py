"""Mult-VAE: a variational auto-encoder of a user's interactions with a multinomial likelihood.

Symbols: x_u is the row of user u in {0, 1}^items, n_u its sum; x~_u = x_u / |x_u| with each entry
set to 0 with probability `dropout` and otherwise divided by 1 - dropout. f is the encoder, items -
hidden - 2 dim; g is the decoder, dim - hidden - items; tanh is between the layers.

    (mu_u, log sigma_u^2) = f(x~_u),   z_u = mu_u + sigma_u * e, e from N(0, I),
    pi_u = softmax(g(z_u))

Objective: mean over users u of  - sum over the items i of u of log pi_ui  +  beta * KL(N(mu_u,
sigma_u^2) || N(0, I)), where beta = min(`kl`, updates so far / `anneal`). Items are ranked by
g(mu_u), without dropout.

Source: Liang, Krishnan, Hoffman, Jebara, "Variational autoencoders for collaborative filtering",
WWW 2018. f, g, dropout and beta are those of the authors' code: 600 and 200 units, 0.5, an update
is a step, so that beta stops rising at `kl` * `anneal` = 40000 steps.

The encoder reads the items of a user and never a row of zeros. The decoder ends in an inner
product, which ranks: the last hidden layer of a user with the output weights, plus their bias. No
user has a vector of its own, so a history that comes after training is encoded and ranked as one of
training.

Differs: biases start from 0, where theirs are drawn from N(0, 1e-6). A user of the training data is
scored from all training items. Their users for validation and test are disjoint from those of
training, which is a way to split, not a way to learn.

Should reproduce (ML-20M, ratings of 4 and more, 10000 held-out users with 80% of theirs as input,
recall divided by min(k, n), batch 500, lr 1e-3, 200 epochs): recall@20 / recall@50 / ndcg@100
0.3954 / 0.5354 / 0.4259, from the notebook of the authors' code.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network
from recsys.nn.feature_layers import layer
from recsys.nn.histories import Histories
from recsys.nn.losses import Terms
from recsys.nn.tables import frozen
from recsys.sampling import UserBatch
from recsys.scorer import Factors
from recsys.scorer.feature_encoder import Layer
from recsys.scorer.history_encoder import HistoryEncoder

__all__ = ["MultVAE"]

_BLOCK = 4096  # users whose histories are gathered at a time


@settings
class MultVAE:
    """Variational auto-encoder with a multinomial likelihood (Liang et al., WWW 2018)."""

    dim: Annotated[int, Bound(ge=1)] = 200
    """Length of z."""
    hidden: Annotated[int, Bound(ge=1)] = 600
    """Width of the layers next to z."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of a user's items that are hidden in a step."""
    kl: Annotated[float, Bound(ge=0)] = 0.2
    """Maximum weight of the divergence, beta of the paper."""
    anneal: Annotated[int, Bound(ge=0)] = 200_000
    """Number of steps in which the weight of the divergence would rise from 0 to 1; it stops at
    `kl`. 0: `kl` from the start."""

    def build(self, train: Dataset) -> Network:
        return _MultVAE(self, train)


class _MultVAE(Network):
    updates: Tensor

    def __init__(self, recipe: MultVAE, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.n_users = train.n_users
        self.histories = Histories(train.pairs)
        self.input = nn.Embedding(train.n_items, recipe.hidden)
        self.input_bias = nn.Parameter(torch.zeros(recipe.hidden))
        self.to_z = nn.Linear(recipe.hidden, 2 * recipe.dim)
        self.from_z = nn.Linear(recipe.dim, recipe.hidden)
        self.output = nn.Linear(recipe.hidden, train.n_items)
        for linear in (self.to_z, self.from_z, self.output):
            nn.init.zeros_(linear.bias)
        for part in (self.input, self.to_z, self.from_z, self.output):
            nn.init.xavier_uniform_(part.weight)
        # Part of a checkpoint, so that a resumed run has the same weight of the divergence.
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: UserBatch) -> Terms:
        first = torch.searchsorted(batch.owner, torch.arange(len(batch), device=batch.owner.device))
        mean, log_variance = self._encode(batch.item, batch.owner, first)
        scores = self.output(self._decode(self._draw(mean, log_variance)))
        observed = torch.zeros_like(scores)
        observed[batch.owner, batch.item] = 1.0
        likelihood = (F.log_softmax(scores, dim=-1) * observed).sum(1)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
        return Terms(self.beta * divergence - likelihood)

    @property
    def beta(self) -> Tensor:
        """Return the weight of the divergence at the next step, a scalar."""
        if not self.recipe.anneal:
            return torch.full((), self.recipe.kl, device=self.updates.device)
        return (self.updates / self.recipe.anneal).clamp_max(self.recipe.kl)

    def _encode(self, item: Tensor, owner: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and log sigma^2 of users, each [B, dim]; in training, with dropped items.

        Args:
            item: items of the users, one user after the other, int64 [P].
            owner: index of the user of each item, int64 [P], ascending.
            first: index of the first item of each user, int64 [B].
        """
        table = self.input.weight
        count = torch.diff(first, append=first.new_full((1,), len(item)))
        scale = count.clamp_min(1).to(table.dtype).rsqrt()
        value = F.dropout(scale[owner], self.recipe.dropout, self.training)
        history = F.embedding_bag(item, table, first, mode="sum", per_sample_weights=value)
        mean, log_variance = self.to_z(torch.tanh(history + self.input_bias)).chunk(2, dim=-1)
        return mean, log_variance

    def _draw(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return mean + torch.randn_like(mean) * (log_variance / 2).exp() if self.training else mean

    def _decode(self, z: Tensor) -> Tensor:
        """Return the last hidden layer, [B, hidden]."""
        return torch.tanh(self.from_z(z))

    def constrain(self, batch: UserBatch) -> None:
        """Count the step."""
        self.updates += 1

    @torch.no_grad()
    def scorer(self) -> Factors:
        training, users = self.training, torch.arange(self.n_users)
        self.eval()
        hidden = torch.cat(
            [
                self._decode(self._encode(*self.histories.of(block))[0])
                for block in torch.split(users, _BLOCK)
            ]
        )
        self.train(training)
        return Factors(
            hidden,
            frozen(self.output.weight),
            item_bias=frozen(self.output.bias),
            encoder=self._encoder(),
        )

    def _encoder(self) -> HistoryEncoder:
        """Return the map from a history to the last hidden layer as a value, without noise."""
        dim = self.recipe.dim
        to_mean = Layer(frozen(self.to_z.weight[:dim]), frozen(self.to_z.bias[:dim]))
        return HistoryEncoder(
            frozen(self.input),
            power=0.5,
            bias=frozen(self.input_bias),
            activation="tanh",
            layers=(to_mean, layer(self.from_z, "tanh")),
        )
