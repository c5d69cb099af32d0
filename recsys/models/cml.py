"""CML: collaborative metric learning, with users and items as points of one metric space.

Distance D(u, i) = |p_u - q_i|^2, score -D. Objective: mean over observed pairs of

    w_ui * [margin + D(u, i) - min_k D(u, k)]+

over sampled negatives k, with every vector kept in the unit ball. w_ui = ln(rank + 1), where the
rank of i is estimated from the share of negatives within the margin (WARP), or 1 without weights.
Two terms can be added: `covariance.weight` times a penalty on the covariance C of the coordinates,
and `content.weight` times the mean of |f(x_i) - q_i|^2 over the items of the batch, where f is a
small network on the features x of an item (CML+F).

Source: Hsieh, Yang, Cui, Lin, Belongie, Estrin, "Collaborative metric learning", WWW 2017.

The samplers of later papers, all without weights (`loss.reduce = "each"` or "hardest"):

    UniS   reduce = "each"
    PopS   reduce = "each", sampler = { proposal = "popularity", alpha = 1.0 }
    HarS   reduce = "hardest"
    2stS   reduce = "hardest", second_stage = 10, sampler = { pool = "shared", strict = true,
           proposal = "popularity", alpha = 1.0, negatives = 300 }: items that are similar to the
           positive are drawn from a pool (Tran et al., SIGIR 2019), RECONSTRUCTED from the
           description of their code

A step of UniS and PopS takes `batch_size` pairs of K triplets each. In the papers it takes
`batch_size` triplets and there are K times as many steps: `sampler.unit = "triplet"`. On CiteULike,
P@3 of UniS is 7.99 by pairs, 7.26 by triplets, and 7.34 published.

Differs from the paper: the loss is the mean over the batch instead of the sum, which is the same
with Adam or Adagrad except for the weight of the covariance. The printed covariance term takes its
first norm unsquared, and the released code sums signed entries, so both are choices in addition to
the evident meaning. Only rows that moved are put back into the ball, as no other row can have left
it. Only negatives that are kept receive a gradient: it is the same gradient, but fewer rows move if
only touched rows are updated.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.kernels import PairTask, without_kernel
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import Space, keep_in, project, similarity, similarity_pool
from recsys.nn.losses import Loss, Terms, choose, pair_loss, refuse_fitting
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["CML", "Content", "Covariance", "covariance", "second_stage"]


@settings
class Covariance:
    """The penalty on correlated coordinates."""

    weight: Annotated[float, Bound(ge=0)] = 0.0
    """0 turns it off (the paper tunes it around 10, for a sum over the batch)."""
    form: Literal["squared", "printed", "released"] = "squared"
    """squared: (|C|_F^2 - |diag C|^2) / d. printed: (|C|_F - |diag C|^2) / n for n vectors.
    released: sum of the entries off the diagonal, with their signs, which can be negative."""
    over: Literal["batch", "all"] = "batch"
    """Compute C from the vectors of the batch, or from both whole tables at every step as in the
    released code."""


@settings
class Content:
    """The term that pulls items towards the image of their features (CML+F)."""

    weight: Annotated[float, Bound(ge=0)] = 0.0
    """0 leaves features out; the paper has 1, and 0.5 on MovieLens."""
    hidden: Annotated[int, Bound(ge=1)] = 256
    """Width of the hidden layer."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of the hidden units that are dropped in a step."""


@settings
class CML(NeedsNegatives):
    """Distances in one space, with or without WARP weights (Hsieh et al., WWW 2017)."""

    reconstructed = "2stS"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    loss: Loss = Loss(kind="hinge", reduce="warp", margin=1.0)
    """reduce = "warp" is the paper's; "hardest" has no weights; "each" counts every negative."""
    sampler: Sampler = Sampler(negatives=10)
    second_stage: Annotated[int, Bound(ge=0)] = 0
    """Number of negatives drawn from a shared pool for each pair by similarity to its positive
    (2stS); 0: use the whole pool."""
    covariance: Covariance = Covariance()
    content: Content = Content()
    user_space: Space = "ball"
    """Space of the user vectors: free, the ball of `radius`, or its sphere."""
    item_space: Space = "ball"
    """Space of the item vectors, with the same choices."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Radius of the ball or sphere."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_fitting(self.loss, "CML")
        drawn_by = self.sampler.proposal == "popularity" and self.sampler.alpha > 0
        if (
            self.second_stage
            and drawn_by
            and self.loss.correct
            and (self.loss.kind == "softmax" or self.loss.reduce in ("soft", "resampled"))
        ):
            raise InputError(
                "second_stage draws by similarity with unknown probabilities, "
                "and the loss corrects for the proposal of the sampler",
                remedy="use loss.correct = false, or second_stage = 0",
            )
        if self.second_stage and self.sampler.pool != "shared":
            raise InputError(
                f"second_stage = {self.second_stage} draws from a pool",
                remedy="use sampler.pool = 'shared'",
            )
        if self.second_stage > self.sampler.negatives and self.second_stage:
            raise InputError(
                f"second_stage = {self.second_stage} exceeds the {self.sampler.negatives} "
                "negatives of the pool",
                remedy="raise sampler.negatives",
            )

    def build(self, train: Dataset) -> Network:
        return _CML(self, train)


class _CML(Network):
    def __init__(self, recipe: CML, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = embedding(train.n_users, recipe.dim, recipe.dim**-0.5)
        self.item = embedding(train.n_items, recipe.dim, recipe.dim**-0.5)
        self.content = (
            _Features(recipe.content, train, recipe.dim) if recipe.content.weight else None
        )
        with torch.no_grad():
            if self.content is not None:
                self.item.weight[self.content.present] = self.content.eval()(self.content.known())
                self.content.train()
            project(self.user.weight, recipe.user_space, recipe.radius)
            project(self.item.weight, recipe.item_space, recipe.radius)
        whole = recipe.covariance.weight > 0 and recipe.covariance.over == "all"
        self.rows = () if whole else (self.user, self.item)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        user = self.user(batch.user)
        with torch.no_grad():
            pos, neg = self._compare(user.detach(), batch)
            kept, mask = self._second_stage(batch), batch.mask
            if kept is not None:
                neg, mask = neg.gather(1, kept), None if mask is None else mask.gather(1, kept)
        chosen = choose(
            recipe.loss, pos, neg, n_items=self.item.num_embeddings, mask=mask, log_q=batch.log_q
        )
        negatives = batch.neg.expand(len(batch), -1)
        negatives = negatives if kept is None else negatives.gather(1, kept)
        negatives = negatives if chosen is None else negatives.gather(1, chosen.place)
        # Of all compared items, only those that are kept are read again with a gradient.
        item = self.item(batch.pos)
        if chosen is None and kept is None and batch.shared:
            others = self.item(batch.neg)
            neg = similarity_pool("euclidean", user, others)
        else:
            others = self.item(negatives)
            neg = similarity("euclidean", user, others)
        pos = similarity("euclidean", user, item)
        pair = pair_loss(
            recipe.loss,
            pos,
            neg,
            n_items=self.item.num_embeddings,
            mask=mask,
            log_q=batch.log_q,
            chosen=chosen,
        )
        return Terms(
            pair,
            self._extra(
                user,
                torch.cat([item, others.reshape(-1, recipe.dim)]),
                torch.cat([batch.pos, negatives.reshape(-1)]),
            ),
        )

    def _compare(self, user: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the similarity of the positives [B] and of all candidates [B, K]."""
        weight = self.item.weight.detach()
        item = weight.index_select(0, batch.pos)
        negatives = weight.index_select(0, batch.neg.reshape(-1))
        return pair_scores(batch, user, item, negatives, "euclidean")

    def _second_stage(self, batch: Batch) -> Tensor | None:
        """Return indices into the pool of the negatives drawn per pair, [B, second_stage]."""
        if not self.recipe.second_stage:
            return None
        weight = self.item.weight.detach()
        return second_stage(
            weight.index_select(0, batch.pos),
            weight.index_select(0, batch.neg),
            self.recipe.second_stage,
            batch.mask,
        )

    def _extra(self, user: Tensor, items: Tensor, rows: Tensor) -> Tensor | None:
        """Return the terms that belong to no pair; `items` are the vectors of the item `rows`."""
        settings, extra = self.recipe.covariance, None
        if settings.weight:
            vectors = torch.cat(
                [self.user.weight, self.item.weight] if settings.over == "all" else [user, items]
            )
            extra = settings.weight * covariance(vectors, settings.form)
        if self.content is not None:
            image, known = self.content(rows), self.content.present[rows]
            distance = (image - items).square().sum(1) * known
            term = self.recipe.content.weight * distance.sum() / known.sum().clamp_min(1)
            extra = term if extra is None else extra + term
        return extra

    def constrain(self, batch: Batch) -> None:
        keep_in(self.user, self.recipe.user_space, self.recipe.radius)
        keep_in(self.item, self.recipe.item_space, self.recipe.radius)

    def pair_task(self) -> PairTask:
        recipe = self.recipe
        for name, weight in (
            ("covariance", recipe.covariance.weight),
            ("content", recipe.content.weight),
        ):
            if weight:
                raise without_kernel(f"{name}.weight = {weight:g}")
        return PairTask(
            self.user,
            self.item,
            recipe.loss,
            "euclidean",
            user_space=recipe.user_space,
            item_space=recipe.item_space,
            radius=recipe.radius,
        )

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item), "euclidean")


class _Features(nn.Module):
    """f of the paper: all modalities concatenated, one hidden layer, a point of the space."""

    def __init__(self, settings: Content, train: Dataset, dim: int) -> None:
        super().__init__()
        if not train.features:
            raise InputError(
                "content.weight asks for item features, and the data have none",
                place="[model]",
                remedy="give features in [data]",
            )
        tables = list(train.features.values())
        values = np.concatenate(
            [np.where(table.present[:, None], table.values, 0) for table in tables], axis=1
        ).astype(np.float32)
        self.register_buffer("values", torch.from_numpy(values), persistent=False)
        self.register_buffer(
            "present",
            torch.from_numpy(np.logical_or.reduce([table.present for table in tables])),
            persistent=False,
        )
        self.register_buffer("rows", self.present.nonzero().view(-1), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(values.shape[1], settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, dim),
        )

    values: Tensor
    present: Tensor
    rows: Tensor

    def known(self) -> Tensor:
        """Return the rows of the items that have features."""
        return self.rows

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.layers(self.values[rows])
        return out


def covariance(vectors: Tensor, form: str = "squared") -> Tensor:
    """Return the penalty on the covariance C [d, d] of vectors [n, d], a scalar.

    The forms are those of `Covariance.form`.
    """
    centred = vectors - vectors.mean(0)
    matrix = centred.T @ centred / len(vectors)
    if form == "released":
        return matrix.sum() - matrix.diagonal().sum()
    diagonal = matrix.diagonal().square().sum()
    if form == "printed":
        return (matrix.norm() - diagonal) / len(vectors)
    return (matrix.square().sum() - diagonal) / vectors.shape[1]


def second_stage(positives: Tensor, pool: Tensor, n: int, mask: Tensor | None = None) -> Tensor:
    """Draw n items of a pool per positive without replacement, by similarity t to the positive.

    The weight is the inverse of the density of the inner product of two random unit vectors, (1 -
    t^2)^(1 - (d - 1) / 2), so that frequent similarities count little; it is 0 where t <= 0. If
    fewer than n items have a weight, the rest is drawn uniformly from the others.

    Source: Tran, Sweeney, Lalmas, "Improving collaborative metric learning with efficient negative
    sampling", SIGIR 2019.

    Args:
        positives: item vectors [B, d].
        pool: item vectors [K, d].
        n: number of items to draw for each positive.
        mask: bool [B, K], False where an item is drawn only if the others are used up; None: all
            may be drawn.

    Returns:
        Indices into the pool, int64 [B, n].
    """
    cosine = nn.functional.normalize(positives, dim=1) @ nn.functional.normalize(pool, dim=1).T
    log_weight = (1 - (pool.shape[1] - 1) / 2) * torch.log(1 - cosine.clamp(-1, 1).square() + 1e-8)
    # Weight 0 is a logarithm below all others; the draw adds Gumbel noise, -log(-log(uniform)).
    log_weight = torch.where(cosine > 0, log_weight, -1e6)
    if mask is not None:
        log_weight = torch.where(mask, log_weight, -1e9)
    noise = -torch.log(-torch.log(torch.rand_like(log_weight).clamp(1e-12, 1 - 1e-7)))
    return (log_weight + noise).topk(n, dim=1).indices
