"""MILK: recommend new items, of which a modality may be missing, from their features alone.

Symbols: x_i^m are the features of item i in modality m, each row scaled to length 1 and frozen;
c_i^m = W_m x_i^m + b_m; p_u is learned. An environment e is a point theta(e) of the simplex over
the modalities, v_i(e) = sum_m theta_m(e) c_i^m and s_ui(e) = p_u . v_i(e). Environment 0 weights
all modalities equally. At every step theta^(1) is drawn from Dirichlet(alpha, ..., alpha). The
other environments are its cyclic shifts, so that each modality is the strongest in one of them: |M|
+ 1 environments in all. Objective, with L_e the mean over observed pairs (u, i) of -log
sigmoid(s_ui(e) - s_uj(e)), where j are the sampled negatives:

    sum_e L_e  +  invariance * Var_e(L_e)  +  alignment * sum_{m < m'} mse(c^m, c^m')
        +  l2 * mean (|p_u|^2 + |v_i(0)|^2 + |v_j(0)|^2),

Var with |M| in its denominator; mse is the mean over the coordinates and over the distinct
positives of the batch that have both modalities. Items are ranked by environment 0, whether they
have training interactions or not; a missing modality is replaced by the mean over the training
items.

Source: Bai, Wu, Hou, Cai, He, Zhou, Hong, Wang, "Multimodality invariant learning for
multimedia-based new item recommendation", SIGIR 2024.

How a step is made cheap without changing its result: scores are linear in theta, so each modality
is scored once and the environments are a product of [B, |M|] with [|M|, |M| + 1]. The released code
projects all items once for every environment.

Differs from the released code: any number of modalities, where it has two (for three, the sum over
pairs is RECONSTRUCTED, and an item that lacks one modality still aligns the others). Negatives are
drawn only from items with a training interaction unless `negatives_from = "all"`, which is the
released form and shows the features of new items to training. The paper has the expectation over
environments where the code has the sum: `over = "mean"`; its published weights are for the sum.
Baby: invariance 1000, alignment 0.05, alpha 0.01 (the code says 0.1 and 0.1); Clothing: 50, 0.05,
0.1; TikTok: 50, 0.5. They do not carry over to other data. It learns slowly: validate every 10
epochs on ndcg@10 of new items, with a patience of 3 evaluations. Reproduces nothing published: the
numbers of the paper's large table were not available.
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
from recsys.nn.distinct import counted, distinct
from recsys.nn.feature_layers import Impute, Scale, Table, affine, each_its_own, layer, reader
from recsys.nn.losses import Loss, Terms, pair_loss
from recsys.nn.negative_pool import Pool, from_pool
from recsys.nn.tables import embedding
from recsys.sampling import Batch, Sampler, to_device
from recsys.scorer import Factors

__all__ = ["MILK", "dirichlet", "environments"]


@settings
class MILK(NeedsNegatives):
    """New items from features, the same whichever modality leads (Bai et al., SIGIR 2024)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    negatives_from: Pool = "warm"
    """Draw negatives from items with a training interaction (warm), or from all items, as in the
    released code."""
    invariance: Annotated[float, Bound(ge=0)] = 50.0
    """Weight of the variance of the loss over environments, beta of the paper."""
    alignment: Annotated[float, Bound(ge=0)] = 0.05
    """Weight of the distance between the modalities of an item, lambda of the paper."""
    alpha: Annotated[float, Bound(gt=0)] = 0.1
    """Parameter of the Dirichlet distribution: the smaller, the more often one modality has all the
    weight."""
    mixing: Literal["cyclic", "independent", "none"] = "cyclic"
    """cyclic: one draw and its shifts. independent: a draw per environment, an ablation of the
    paper. none: environment 0 only."""
    over: Literal["sum", "mean"] = "sum"
    """Reduction of the losses of the environments: sum, as in the released code, or mean, as in the
    paper."""
    l2: Annotated[float, Bound(ge=0)] = 1e-4
    """Weight of the squared norms of a pair in environment 0."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values of the users."""
    scale: Scale = "row"
    """row: scale every row of features to length 1, after missing ones are filled in."""
    impute: Impute = "mean"
    """Replacement for a missing modality."""

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
        items, (pos_at, neg_at) = distinct(batch.pos, batch.neg, n=self.n_items)
        maps = zip(self.tables, self.maps, strict=True)
        projected = torch.stack(
            [linear(table(items)) for table, linear in maps], dim=1
        )  # [R, M, d]
        user = self.user(batch.user)
        theta = environments(recipe.alpha, len(self.maps), recipe.mixing).to(projected.dtype)
        theta = to_device(theta, projected.device)
        # One pass over memory; products of each user with a few rows are several times slower.
        pos = similarity("dot", user, _at(projected, pos_at)) @ theta.T
        if batch.shared:
            neg = torch.einsum("bd,kmd->bkm", user, _at(projected, neg_at)) @ theta.T
        else:
            neg = torch.linalg.vecdot(_at(projected, neg_at), user[:, None, None, :]) @ theta.T
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
        extra = self._extra(batch, user, projected, items, pos_at, neg_at)
        if recipe.invariance and len(theta) > 1:
            extra = extra + recipe.invariance * pair.mean(1).var()
        return Terms(pair.sum(0) if recipe.over == "sum" else pair.mean(0), extra)

    def _extra(
        self,
        batch: Batch,
        user: Tensor,
        projected: Tensor,
        items: Tensor,
        pos_at: Tensor,
        neg_at: Tensor,
    ) -> Tensor:
        """Return the alignment of the distinct positives plus the squared norms, a scalar."""
        recipe, total = self.recipe, projected.new_zeros(())
        if recipe.alignment:
            positives, count = counted(pos_at, len(items))
            own, present = projected[positives], self.present[:, items[positives]] & (count > 0)
            for one, other in combinations(range(len(self.maps)), 2):
                both = (present[one] & present[other]).to(own)
                distance = (own[:, one] - own[:, other]).square().mean(1)
                total = total + recipe.alignment * (distance @ both) / both.sum().clamp_min(1)
        if recipe.l2:
            even = projected.mean(1).square().sum(1)
            negatives = even[neg_at].sum() * (len(batch) if batch.shared else 1)
            total = total + recipe.l2 / len(batch) * (
                user.square().sum() + even[pos_at].sum() + negatives
            )
        return total

    @torch.no_grad()
    def scorer(self) -> Factors:
        maps = zip(self.tables, self.maps, strict=True)
        projected = [linear(table.values) for table, linear in maps]
        content = each_its_own(self.read, *((layer(linear),) for linear in self.maps))
        return Factors(self.user.weight.clone(), torch.stack(projected).mean(0), content=content)


def _at(projected: Tensor, index: Tensor) -> Tensor:
    """Return the rows of [R, M, d] at an index of any shape."""
    rows = F.embedding(index, projected.view(len(projected), -1))
    return rows.view(*index.shape, *projected.shape[1:])


def environments(
    alpha: float, modalities: int, mixing: Literal["cyclic", "independent", "none"] = "cyclic"
) -> Tensor:
    """Return the weights of the modalities in each environment, float64 [E, M].

    Rows sum to 1; the first has equal weights.
    """
    even = torch.full((1, modalities), 1 / modalities, dtype=torch.float64)
    if mixing == "none":
        return even
    if mixing == "independent":
        return torch.cat([even, *(dirichlet(alpha, modalities)[None] for _ in range(modalities))])
    drawn = dirichlet(alpha, modalities)
    return torch.cat([even, torch.stack([drawn.roll(shift) for shift in range(modalities)])])


def dirichlet(alpha: float, n: int) -> Tensor:
    """Draw from Dirichlet(alpha, ..., alpha), float64 [n], exactly also for a very small alpha.

    The draw uses the generator of the CPU. A gamma variable of shape alpha is one of shape alpha +
    1 times U^(1 / alpha). For small alpha it underflows, so its logarithm is used.
    """
    shape = torch.full((n,), alpha + 1, dtype=torch.float64)
    log_gamma = (
        torch._standard_gamma(shape).log()
        + torch.rand(n, dtype=torch.float64).clamp_min(1e-300).log() / alpha
    )
    return log_gamma.softmax(0)
