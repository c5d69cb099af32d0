"""SFCML: collaborative metric learning without sampling, over all positive and all other items.

Symbols: user i has a vector u_i, item j a vector v_j; D(i, j) = |u_i - v_j|^2; P_i are the n+ items
that i has interacted with, Q_i the n- others. Objective, the mean over users of

    L_i = 1 / (n+ n-)  sum_{j in P_i} sum_{k in Q_i} (margin + D(i, j) - D(i, k))^2

with |v_j| = radius for every item and |u_i| = radius, or at most that, for every user; plus l2 / 2
times the squared norms of all items and of the users of the batch. The square is that of the
difference itself: a pair whose distance exceeds the margin is penalised, too.

Source: Bao, Xu, Yang, Cao, Huang, "Rethinking collaborative metric learning: toward an efficient
alternative without negative sampling", TPAMI 45(1), 2023.

Why it is cheap: as all items have one norm, D(i, k) - D(i, j) = f_ij - f_ik with f_ij = 2 u_i .
v_j, and

    L_i = margin^2 - 2 margin (m+ - m-) + s+ + s- - 2 m+ m-

with m the mean and s the mean square of f_i over P_i (+) and over Q_i (-). Sums over Q_i are those
over all items minus those over P_i, and with G = sum_k v_k v_k' and z = sum_k v_k the sums over all
items are 2 u_i . z and 4 u_i' G u_i. So a step costs O(N d^2) for G and its gradient and O(d) for a
pair of P_i; nothing of size users x items is ever built ("gram"). The gradient is written by hand.
With g_i that of L_i, c_i = 2 g_i / n-, and for the pairs of P_i

    e_ij = 2 g_i / n+ (f_ij - margin - m-) - c_i (f_ij - m+ + margin),

it is

    by u_i    4 c_i G u_i - 2 c_i (m+ - margin) z + 2 sum_{j in P_i} e_ij v_j
    by v_k    A v_k + b + 2 sum_{i: k in P_i} e_ij u_i,
              A = 4 sum_i c_i u_i u_i',   b = -2 sum_i c_i (m+ - margin) u_i

The paper writes L_i as (f_i - margin y_i)' K_i (f_i - margin y_i), with y_i the row of the
interactions of i and K_i the Laplacian of the complete bipartite graph of P_i and Q_i. "dense"
computes that, in O(N d) per user and with f_i in full. Both give the same numbers.

Differs from the paper or the released code: the gram form (theirs is the dense one). Only the users
of the batch are decayed, where their optimiser decays the whole table (`decay = "table"`), and
decay is the gradient of a term of the loss rather than a setting of the optimiser. A user who has
interacted with every item has no pair and a loss of 0.

Decay of the table is not small under Adagrad, which divides by the accumulated gradients: the first
step of a user who was not in a batch yet is lr times the sign of each coordinate, regardless of how
small l2 is. On ML-100k (four steps an epoch, l2 1e-5, lr 0.05) such users come to their first batch
at a mean cosine of 0.65 to 0.81 to their start with 256 coordinates, and of 0.93 to 0.95 with 64.
Three seeds show no effect on the result (256, 300 epochs): P@3 / MAP / AUC 23.26 / 17.87 / 93.13
with the batch alone, 23.31 / 18.04 / 93.13 with the table.

The score is the inner product u.v, which orders a user's items as the negated distance does if all
items have one norm, and costs nothing to compute. If rounding makes the norms differ slightly, it
is also the value that the loss has used.

Train with optimizer = "adagrad". `train.batch_size` counts users; rows = "touched" leaves out the
users who are not in the batch, who would not move under Adagrad anyway.

Reproduces (author split of ML-100k; dim 256, margin 2, l2 1e-5, adagrad, lr 0.05, 256 users a step,
300 epochs, the epoch of the best AUC on valid): P@3 / MAP / AUC 23.40 / 18.00 / 93.11 are
published; this gives 23.10 / 17.96 / 93.11 and 23.32 / 17.96 / 93.14 with seeds 0 and 1.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models import Network
from recsys.nn.distance import keep_in, project
from recsys.nn.losses import Terms
from recsys.nn.tables import embedding, frozen
from recsys.sampling import UserBatch
from recsys.scorer import Factors

__all__ = ["SFCML", "all_pairs", "all_pairs_dense"]


@settings
class SFCML:
    """Metric learning over all pairs without sampling, at linear cost (Bao et al., TPAMI 2023)."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    margin: float = 2.0
    """Target difference of the squared distances to other items and to positives; on unit spheres
    differences are in -4..4."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Radius of the sphere of the items, and of the sphere or ball of the users."""
    user_space: Literal["sphere", "ball"] = "sphere"
    """Space of the users: on the sphere, as in the authors' code, or in the ball, which is all that
    the derivation needs."""
    l2: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the squared norms of all items and of the users of the batch (1e-5 in the authors'
    code)."""
    decay: Literal["batch", "table"] = "batch"
    """Users that l2 applies to in a step: those of the batch, or all, as in the authors' code,
    whose optimiser decays whole tables."""
    form: Literal["gram", "dense"] = "gram"
    """Computation of the same loss: gram needs no row of scores; dense builds them, and is for
    comparison."""

    def build(self, train: Dataset) -> Network:
        return _SFCML(self, train)


class _SFCML(Network):
    def __init__(self, recipe: SFCML, train: Dataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.user = embedding(train.n_users, recipe.dim, 1.0)
        self.item = embedding(train.n_items, recipe.dim, 1.0)
        # All items have a gradient at every step, and so have all users if the table decays.
        self.rows = (self.user,) if recipe.decay == "batch" or not recipe.l2 else ()
        with torch.no_grad():
            project(self.user.weight, recipe.user_space, recipe.radius)
            project(self.item.weight, "sphere", recipe.radius)

    def loss(self, batch: UserBatch) -> Terms:
        recipe, user = self.recipe, self.user(batch.user)
        both = all_pairs if recipe.form == "gram" else all_pairs_dense
        pair, square = both(user, self.item.weight, batch.item, batch.owner, recipe.margin)
        if not recipe.l2:
            return Terms(pair)
        decayed = user if recipe.decay == "batch" else self.user.weight
        return Terms(pair, recipe.l2 / 2 * (square + decayed.square().sum()))

    def constrain(self, batch: UserBatch) -> None:
        keep_in(self.user, self.recipe.user_space, self.recipe.radius)
        keep_in(self.item, "sphere", self.recipe.radius)

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item), "dot")


def all_pairs(
    user: Tensor, item: Tensor, positive: Tensor, owner: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Return the mean of (margin + D+ - D-)^2 over all pairs of a positive and another item, [B].

    The second value is the sum of the squared norms of all items. A user without positives or
    without other items has no pair, and gets 0. In float32 the error grows as N / n- does: it is
    the rounding of sums over all items, and matters for a user who has interacted with almost every
    item.

    Args:
        user: float [B, d].
        item: float [N, d], all of one norm.
        positive: items of the users, one user after the other, no item twice for a user, int64 [P].
        owner: which of the B users each belongs to, int64 [P].
        margin: added to each difference of squared distances.
    """
    pair, square = _AllPairs.apply(  # type: ignore[no-untyped-call]
        user, item, positive, owner, margin
    )
    return pair, square


class _AllPairs(torch.autograd.Function):
    """The gram form; the docstring of the module has the names and the gradient."""

    @staticmethod
    def forward(
        ctx: Any, user: Tensor, item: Tensor, positive: Tensor, owner: Tensor, margin: float
    ) -> tuple[Tensor, Tensor]:
        # Differences of large sums: half precision would cancel them.
        with torch.autocast(user.device.type, enabled=False):
            gram, total = item.T @ item, item.sum(0)
            user_gram = user @ gram
            f = torch.linalg.vecdot(
                user.index_select(0, owner), item.index_select(0, positive)
            ).mul_(2)
            n_positive, n_other, pairs = _counts(owner, len(user), item)
            first, second = user.new_zeros(2, len(user)).unbind(0)
            first.index_add_(0, owner, f)
            second.index_add_(0, owner, f.square())
            mean, square = first / n_positive, second / n_positive
            mean_other = (2 * (user @ total) - first) / n_other
            square_other = (4 * torch.linalg.vecdot(user_gram, user) - second) / n_other
            pair = (
                margin**2
                - 2 * margin * (mean - mean_other)
                + square
                + square_other
                - 2 * mean * mean_other
            )
        ctx.save_for_backward(user, item, positive, owner, user_gram, total, f)
        ctx.by_user = mean, mean_other, n_positive, n_other, pairs
        ctx.margin = margin
        return pair * pairs, gram.diagonal().sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        user, item, positive, owner, user_gram, total, f = ctx.saved_tensors
        mean, mean_other, n_positive, n_other, pairs = ctx.by_user
        slope = 2 * grads[0] * pairs
        c = slope / n_other
        shift = c * (mean - ctx.margin)
        own = slope / n_positive
        parts = torch.stack([own, c, own * (ctx.margin + mean_other), shift], dim=1)
        each = parts.index_select(0, owner)
        e = ((each[:, 0] - each[:, 1]) * f).sub_(each[:, 2]).add_(each[:, 3]).mul_(2)[:, None]
        by_user = (4 * c)[:, None] * user_gram - 2 * shift[:, None] * total
        by_user.index_add_(0, owner, item.index_select(0, positive).mul_(e))
        quadratic = (user.T * (4 * c)) @ user
        quadratic.diagonal().add_(2 * grads[1])
        by_item = torch.addmm(-2 * (shift @ user), item, quadratic)
        by_item.index_add_(0, positive, user.index_select(0, owner).mul_(e))
        return by_user, by_item, None, None, None


def all_pairs_dense(
    user: Tensor, item: Tensor, positive: Tensor, owner: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Return the same as `all_pairs`, by the paper's Laplacian over whole rows [B, N]."""
    with torch.autocast(user.device.type, enabled=False):
        label = torch.zeros(len(user), len(item), dtype=user.dtype, device=user.device)
        label[owner, positive] = 1
        n_positive, n_other, pairs = _counts(owner, len(user), item)
        a, b = label / n_positive[:, None], (1 - label) / n_other[:, None]
        g = 2 * user @ item.T - margin * label
        pair = ((a + b) * g.square()).sum(1) - 2 * (a * g).sum(1) * (b * g).sum(1)
        return pair * pairs, item.square().sum()


def _counts(owner: Tensor, n: int, item: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return n+ and n- of each user [n], at least 1, and whether the user has a pair, 0 or 1."""
    ends = torch.searchsorted(owner.contiguous(), torch.arange(n + 1, device=owner.device))
    n_positive = ends.diff().to(item.dtype)
    n_other = len(item) - n_positive
    has_pair = ((n_positive > 0) & (n_other > 0)).to(item.dtype)
    return n_positive.clamp_min(1), n_other.clamp_min(1), has_pair
