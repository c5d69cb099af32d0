"""MILK: recommending new items of which a modality may be missing, from features alone.

Symbols: x_i^m are the features of item i in modality m, each row scaled to length 1 and frozen; c_i^m = W_m x_i^m + b_m; p_u is learned. An
environment e is a point theta(e) of the simplex over the modalities, v_i(e) = sum_m theta_m(e) c_i^m and s_ui(e) = p_u . v_i(e). Environment 0
weights all modalities alike. At every step theta^(1) is drawn from Dirichlet(alpha, ..., alpha), and its cyclic shifts are the others, so
that each modality is the strongest of one of them: |M| + 1 environments in all. Objective, with L_e the mean over observed pairs (u, i) of
-log sigmoid(s_ui(e) - s_uj(e)), j the sampled negatives:

    sum_e L_e  +  invariance * Var_e(L_e)  +  alignment * sum_{m < m'} mse(c^m, c^m')  +  l2 * mean (|p_u|^2 + |v_i(0)|^2 + |v_j(0)|^2),

Var with |M| in its denominator; mse the mean over the distinct positives of the batch that have both modalities and over the coordinates. Items
are ranked by environment 0, those without a training pair like all others; what is missing is the mean over the training items.
Source: Bai, Wu, Hou, Cai, He, Zhou, Hong, Wang, "Multimodality invariant learning for multimedia-based new item recommendation", SIGIR 2024.

How a step is made cheap, without changing its result: scores are linear in theta, so each modality is scored once and the environments are a product
of [B, |M|] with [|M|, |M| + 1]; the released code projects all items once for every environment.

Differs from the released code: any number of modalities, where it has two (for three, the sum over pairs is RECONSTRUCTED, and an item
that lacks one modality still aligns the others); negatives only from items with a training pair unless `negatives_from = "all"`, which is the
released form and shows training the features of new items. The paper has the expectation over environments where the code has the sum:
`over = "mean"`; its published weights are for the sum. Baby: invariance 1000, alignment 0.05, alpha 0.01 (the code says 0.1 and 0.1); Clothing: 50,
0.05, 0.1; TikTok: 50, 0.5. They do not carry over to other data. It learns slowly: validate every 10 epochs on ndcg@10 of new items, and
wait for 3 evaluations. Reproduces nothing published: the numbers of the paper's large table were not to be had.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import similarity
from recsys.nn.feature_layers import (
    Impute,
    Scale,
    Table,
    affine,
    distinct,
    each_its_own,
    layer,
    reader,
)
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.tables import embedding
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["MILK", "dirichlet", "environments"]


@settings
class MILK(NeedsNegatives):
    """New items from features, the same whichever modality leads (Bai et al., SIGIR 2024)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Whether negatives are items with a training pair alone, or all as in the released code."""
    invariance: Annotated[float, Bound(ge=0)] = 50.0
    """Weight of the variance of the loss over environments, beta of the paper."""
    alignment: Annotated[float, Bound(ge=0)] = 0.05
    """Weight of the distance between the modalities of an item, lambda of the paper."""
    alpha: Annotated[float, Bound(gt=0)] = 0.1
    """Of the Dirichlet distribution: the smaller, the more a single modality has all the weight."""
    mixing: Literal["cyclic", "independent", "none"] = "cyclic"
    """cyclic: one draw and its shifts. independent: as many draws, an ablation of the paper. none: environment 0 alone."""
    over: Literal["sum", "mean"] = "sum"
    """Of the losses of the environments: the released code has the sum, the paper the mean."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of a pair in environment 0."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the users' start values."""
    scale: Scale = "row"
    """row: every row of features has length 1, after what is missing was filled in."""
    impute: Impute = "mean"
    """What stands where a modality is missing."""

    def build(self, train: Dataset) -> Network:
        return _MILK(self, train)


class _MILK(Network):
    present: Tensor

    def __init__(self, recipe: MILK, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, from_pool(recipe.sampler, recipe.negatives_from)
        self.n_items = train.n_items
        self.user = embedding(train.n_users, recipe.dim, recipe.init_std)
        self.read = reader(train, impute=recipe.impute, scale=recipe.scale)
        values = self.read(train.features)
        self.tables = nn.ModuleList(Table(value, train=False) for value in values.values())
        self.maps = nn.ModuleList(affine(value.shape[1], recipe.dim) for value in values.values())
        self.rows = (self.user,)
        self.register_buffer(
            "present",
            torch.stack([torch.from_numpy(train.features[name].present) for name in values]),
            persistent=False,
        )

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg)
        told = torch.stack(
            [linear(table(items)) for table, linear in zip(self.tables, self.maps, strict=True)],
            dim=1,
        )  # [R, M, d]
        user = self.user(batch.user)
        theta = environments(recipe.alpha, len(self.maps), recipe.mixing).to(told)
        # One pass over memory instead of a matrix product of each user with a few rows, which runs several times slower.
        pos = similarity("dot", user, _at(told, pos_at)) @ theta.T
        if batch.shared:
            neg = torch.einsum("bd,kmd->bkm", user, _at(told, neg_at)) @ theta.T
        else:
            neg = torch.linalg.vecdot(_at(told, neg_at), user[:, None, None, :]) @ theta.T
        pair = torch.stack(
            [
                pair_loss(
                    recipe.loss,
                    pos[:, e],
                    neg[..., e],
                    n_items=self.n_items,
                    mask=batch.mask,
                    log_q=batch.log_q,
                )
                for e in range(len(theta))
            ]
        )
        extra = self._extra(batch, user, told, items, pos_at, neg_at)
        if recipe.invariance and len(theta) > 1:
            extra = extra + recipe.invariance * pair.mean(1).var()
        return Terms(pair.sum(0) if recipe.over == "sum" else pair.mean(0), extra)

    def _extra(
        self,
        batch: Batch,
        user: Tensor,
        told: Tensor,
        items: Tensor,
        pos_at: Tensor,
        neg_at: Tensor,
    ) -> Tensor:
        """Alignment of the distinct positives and squared norms in environment 0, a scalar."""
        recipe, total = self.recipe, told.new_zeros(())
        if recipe.alignment:
            places = torch.unique(pos_at)
            own, present = told[places], self.present[:, items[places]]
            for one, other in combinations(range(len(self.maps)), 2):
                both = (present[one] & present[other]).to(own)
                apart = (own[:, one] - own[:, other]).square().mean(1)
                total = total + recipe.alignment * (apart @ both) / both.sum().clamp_min(1)
        if recipe.l2:
            even = told.mean(1).square().sum(1)
            negatives = even[neg_at].sum() * (len(batch) if batch.shared else 1)
            total = total + recipe.l2 / len(batch) * (
                user.square().sum() + even[pos_at].sum() + negatives
            )
        return total

    @torch.no_grad()
    def scorer(self) -> Factors:
        told = [linear(table.values) for table, linear in zip(self.tables, self.maps, strict=True)]
        content = each_its_own(self.read, *((layer(linear),) for linear in self.maps))
        return Factors(self.user.weight.clone(), torch.stack(told).mean(0), content=content)


def _at(told: Tensor, places: Tensor) -> Tensor:
    """Rows of [R, M, d] at places of any shape."""
    return F.embedding(places, told.view(len(told), -1)).view(*places.shape, *told.shape[1:])


def environments(
    alpha: float, modalities: int, mixing: Literal["cyclic", "independent", "none"] = "cyclic"
) -> Tensor:
    """Weights of the modalities in each environment, float64 [E, M]; the first has them all alike, rows add up to 1."""
    even = torch.full((1, modalities), 1 / modalities, dtype=torch.float64)
    if mixing == "none":
        return even
    if mixing == "independent":
        return torch.cat([even, *(dirichlet(alpha, modalities)[None] for _ in range(modalities))])
    drawn = dirichlet(alpha, modalities)
    return torch.cat([even, torch.stack([drawn.roll(shift) for shift in range(modalities)])])


def dirichlet(alpha: float, n: int) -> Tensor:
    """A draw from Dirichlet(alpha, ..., alpha), float64 [n], from the generator of the CPU; exact however small alpha is.

    A gamma variable of shape alpha is one of shape alpha + 1 times U^(1 / alpha). For small alpha it is too small for a number, so its logarithm is
    what is worked with.
    """
    shape = torch.full((n,), alpha + 1, dtype=torch.float64)
    log_gamma = (
        torch._standard_gamma(shape).log()
        + torch.rand(n, dtype=torch.float64).clamp_min(1e-300).log() / alpha
    )
    return log_gamma.softmax(0)
