"""CML: collaborative metric learning, users and items as points of one space.

Distance D(u, i) = |p_u - q_i|^2, score -D. Objective: mean over observed pairs of
w_ui * [margin + D(u, i) - min_k D(u, k)]+ over sampled negatives k, every vector kept in the unit ball; w_ui = ln(rank + 1)
with the rank of i estimated from the share of negatives within the margin (WARP), or 1 without it; plus `covariance.weight`
times a penalty on the covariance C of the coordinates; plus `content.weight` times the mean of |f(x_i) - q_i|^2 over the items of the
batch, f a small network on the features x of an item (CML+F).
Source: Hsieh, Yang, Cui, Lin, Belongie, Estrin, "Collaborative metric learning", WWW 2017.

The samplers of the later papers, all of them without weights (`loss.reduce = "each"` or "hardest"):

    UniS   reduce = "each"
    PopS   reduce = "each", sampler = { proposal = "popularity", alpha = 1.0 }
    HarS   reduce = "hardest"
    2stS   reduce = "hardest", second_stage = 10, sampler = { pool = "shared", strict = true, proposal = "popularity", alpha = 1.0,
           negatives = 300 }: from a pool, items are drawn that resemble the positive (Tran et al., SIGIR 2019), RECONSTRUCTED
           from the description of their code

A step of UniS and PopS takes `batch_size` pairs of K triplets each; in the papers it takes `batch_size` triplets, K times as many steps:
`sampler.unit = "triplet"`. CiteULike, P@3 of UniS: 7.99 by pairs, 7.26 by triplets, 7.34 published.

Differs from the paper: mean over the batch instead of the sum (with Adam or Adagrad the same but for the weight of the
covariance); the printed covariance term takes its first norm unsquared, the released code adds up signed entries, so both are
choices beside the evident meaning; only the rows that moved are put back into the ball, as no other can have left it; only
the negatives that are kept are given a gradient, which is the same gradient, but with touched rows moves fewer rows.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
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
    """How correlated coordinates are punished."""

    weight: Annotated[float, Bound(ge=0)] = 0.0
    """0 turns it off (the paper tunes it around 10, for a sum over the batch)."""
    form: Literal["squared", "printed", "released"] = "squared"
    """squared: (|C|_F^2 - |diag C|^2) / d. printed: (|C|_F - |diag C|^2) / n of n vectors. released: sum of the entries beside the
    diagonal, with their signs, which can be negative."""
    over: Literal["batch", "all"] = "batch"
    """The vectors of the batch, or of both whole tables at every step, as in the released code."""


@settings
class Content:
    """The term that draws items to what their features say (CML+F)."""

    weight: Annotated[float, Bound(ge=0)] = 0.0
    """0 leaves features out; the paper has 1, and 0.5 on MovieLens."""
    hidden: Annotated[int, Bound(ge=1)] = 256
    """Width of the hidden layer."""
    dropout: Annotated[float, Bound(ge=0, lt=1)] = 0.5
    """Share of the hidden units left out at a step."""


@settings
class CML(NeedsNegatives):
    """Collaborative metric learning: nearness in one space, with or without WARP weights (Hsieh et al., WWW 2017)."""

    reconstructed = "2stS"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Length of a vector."""
    loss: Loss = Loss(kind="hinge", reduce="warp", margin=1.0)
    """reduce = "warp" is the paper's; "hardest" drops the weights; "each" counts every negative."""
    sampler: Sampler = Sampler(negatives=10)
    second_stage: Annotated[int, Bound(ge=0)] = 0
    """Of a shared pool, so many negatives are drawn for each pair by their likeness to its positive (2stS); 0: all are used."""
    covariance: Covariance = Covariance()
    content: Content = Content()
    user_space: Space = "ball"
    """Where users live: anywhere, within the ball of `radius`, or on its sphere."""
    item_space: Space = "ball"
    """Where items live."""
    radius: Annotated[float, Bound(gt=0)] = 1.0
    """Of the ball or sphere."""

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
            cause = "second_stage draws by likeness, with chances that are not known, and the loss corrects for the proposal of the sampler"
            raise InputError(cause, remedy="use loss.correct = false, or second_stage = 0")
        if self.second_stage and self.sampler.pool != "shared":
            raise InputError(
                f"second_stage = {self.second_stage} draws from a pool",
                remedy="use sampler.pool = 'shared'",
            )
        if self.second_stage > self.sampler.negatives and self.second_stage:
            raise InputError(
                f"second_stage = {self.second_stage} is more than the {self.sampler.negatives} of the pool",
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
        # Of all that was compared, only what is kept is read again with a gradient.
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
        """Similarity of the positives [B] and of all candidates [B, K]."""
        weight = self.item.weight.detach()
        item = weight.index_select(0, batch.pos)
        negatives = weight.index_select(0, batch.neg.reshape(-1))
        return pair_scores(batch, user, item, negatives, "euclidean")

    def _second_stage(self, batch: Batch) -> Tensor | None:
        """Places in the pool of the negatives drawn for each pair [B, second_stage]."""
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
        """The terms that belong to no pair; `items` are the vectors of the item `rows` of the batch."""
        settings, extra = self.recipe.covariance, None
        if settings.weight:
            vectors = torch.cat(
                [self.user.weight, self.item.weight] if settings.over == "all" else [user, items]
            )
            extra = settings.weight * covariance(vectors, settings.form)
        if self.content is not None:
            said, known = self.content(rows), self.content.present[rows]
            apart = (said - items).square().sum(1) * known
            term = self.recipe.content.weight * apart.sum() / known.sum().clamp_min(1)
            extra = term if extra is None else extra + term
        return extra

    def constrain(self, batch: Batch) -> None:
        keep_in(self.user, self.recipe.user_space, self.recipe.radius)
        keep_in(self.item, self.recipe.item_space, self.recipe.radius)

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item), "euclidean")


class _Features(nn.Module):
    """f of the paper: all modalities side by side, one hidden layer, a point of the space."""

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
        self.layers = nn.Sequential(
            nn.Linear(values.shape[1], settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, dim),
        )

    values: Tensor
    present: Tensor

    def known(self) -> Tensor:
        """Rows of the items that have features."""
        return self.present.nonzero().view(-1)

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.layers(self.values[rows])
        return out


def covariance(vectors: Tensor, form: str = "squared") -> Tensor:
    """What correlated coordinates of vectors [n, d] cost, a scalar; C is their covariance [d, d], form as in `Covariance`."""
    centred = vectors - vectors.mean(0)
    matrix = centred.T @ centred / len(vectors)
    if form == "released":
        return matrix.sum() - matrix.diagonal().sum()
    diagonal = matrix.diagonal().square().sum()
    if form == "printed":
        return (matrix.norm() - diagonal) / len(vectors)
    return (matrix.square().sum() - diagonal) / vectors.shape[1]


def second_stage(positives: Tensor, pool: Tensor, n: int, mask: Tensor | None = None) -> Tensor:
    """Draw n of a pool of items for each positive, without putting back, by the weight of their likeness t to it.

    The weight is the inverse of the density of the inner product of two random unit vectors, (1 - t^2)^(1 - (d - 1) / 2), so that likely
    likenesses count little; 0 where t <= 0. Where fewer than n have a weight, the rest is drawn evenly from those that have none.
    Source: Tran, Sweeney, Lalmas, "Improving collaborative metric learning with efficient negative sampling", SIGIR 2019.

    Args:
        positives: item vectors [B, d].
        pool: item vectors [K, d].
        n: how many.
        mask: bool [B, K], False where an item of the pool must not be drawn unless there is no other; None: anywhere.

    Returns:
        Places in the pool, int64 [B, n].
    """
    likeness = nn.functional.normalize(positives, dim=1) @ nn.functional.normalize(pool, dim=1).T
    log_weight = (1 - (pool.shape[1] - 1) / 2) * torch.log(
        1 - likeness.clamp(-1, 1).square() + 1e-8
    )
    # Weight 0 as a number so small that any other comes first; the log of a uniform number twice makes the draw (Gumbel).
    log_weight = torch.where(likeness > 0, log_weight, -1e6)
    if mask is not None:
        log_weight = torch.where(mask, log_weight, -1e9)
    noise = -torch.log(-torch.log(torch.rand_like(log_weight).clamp(1e-12, 1 - 1e-7)))
    return (log_weight + noise).topk(n, dim=1).indices
