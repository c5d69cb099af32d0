"""DPCML: diversity-promoting collaborative metric learning, with several vectors per user.

Symbols: user i has vectors u_i^1 .. u_i^C, item j one vector v_j; s(i, j) = min_c |u_i^c - v_j|^2,
so the nearest vector counts; score -s(i, j). Objective over observed pairs (i, j) with sampled
negatives k:

    mean over pairs of  l_ij  +  weight / B * mean over users of DCRS_i
    l_ij = mean over the hardest kept k of [margin + s(i, j) - s(i, k)]+

with B pairs a step (one or K triplets each), users on the unit sphere and items in the unit ball.
`loss.reduce` selects the negatives, `assign` the number of vectors of a user:

    "each"                every one of the K: DPCML1 of the paper (BPA+UniS), where a step has
                          `batch_size` triplets instead of, as here, pairs of K triplets each:
                          `sampler.unit = "triplet"` is that
    "hardest"             the hardest: DPCML2 (BPA+HarS)
    "top" with `share`    the hardest beta K: DiHarS, the smooth form of one-way partial AUC;
                          `sampler.pool = "all"` takes all items without an interaction of the
                          user as candidates
    assign = "adaptive"   APA: a user with n training pairs has min(C, max(floor(log2 n), 1))
                          vectors

vectors = 1 without DCRS is CML without weights: UniS ("each"), PopS (sampler.proposal =
"popularity", alpha = 1), HarS ("hardest"). similarity = "dot" with items on the sphere too is GFJA,
the same ranking with another loss.

Sources: Bao, Xu, Yang, He, Cao, Huang, "The minority matters: a diversity-promoting collaborative
metric learning algorithm", NeurIPS 2022 (certain); Bao et al., "Improved diversity-promoting
collaborative metric learning for recommendation", TPAMI 2024, for adaptive assignment and DiHarS.
No code and no full text of the latter was available. It is certain that the number of vectors grows
with the history and that DiHarS is the average of the largest losses. The rule log2, its rounding,
the size of the candidate pool and the way the threshold gamma is found are RECONSTRUCTED, and
therefore settings.

Differs from the released code: the loss is a mean over the batch and the weight of DCRS is divided
accordingly, so that eta of the paper is `diversity.weight` here. DCRS looks at the users of the
batch (`diversity.over = "all"` restores the authors' form). Users start on the sphere instead of
being put there after the first step. Only negatives that are kept, and of each user only the
vectors that win, receive a gradient, which is the same gradient.

Reproduces (author split of Steam-200k): P@3 / MAP 29.88 / 24.10 (DPCML2), 25.39 / 22.26 (DPCML1),
26.66 / 23.25 (HarS) are published.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.kernels import PairTask, without_kernel
from recsys.models import NeedsNegatives, Network
from recsys.nn.distance import Space, keep_in, project, similarity_multi, similarity_of_winner
from recsys.nn.diversity import Diversity, diversity
from recsys.nn.losses import Chosen, Loss, Terms, choose, pair_loss, refuse_fitting
from recsys.nn.tables import embedding, frozen
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors, MultiFactors

__all__ = ["DPCML", "vector_counts"]


@settings
class DPCML(NeedsNegatives):
    """Several diverse vectors per user, the nearest counts (Bao et al., 2022, TPAMI 2024)."""

    reconstructed = "APA, DiHarS"

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    vectors: Annotated[int, Bound(ge=1)] = 5
    """C: maximum number of vectors per user."""
    assign: Literal["basic", "adaptive"] = "basic"
    """basic (BPA): every user has C vectors. adaptive (APA): users with more pairs have more
    vectors."""
    growth: Literal["log2", "sqrt", "linear"] = "log2"
    """adaptive: growth of the number of vectors with the number n of training pairs: log2 n, sqrt
    n, or n / 10."""
    rounding: Literal["floor", "round", "ceil"] = "floor"
    """adaptive: rounding of that number."""
    loss: Loss = Loss(kind="hinge", reduce="hardest", margin=1.0)
    sampler: Sampler = Sampler(negatives=10)
    gamma: Literal["closed", "learned"] = "closed"
    """For reduce = "top". closed: the mean of the largest losses. learned: gamma + sum of [loss -
    gamma]+ with a learned threshold gamma per pair, whose minimum over gamma is the same."""
    gamma_rate: Annotated[float, Bound(gt=0)] = 10.0
    """learned: the step size of gamma, as a multiple of the step size of the vectors."""
    diversity: Diversity = Diversity()
    similarity: Literal["euclidean", "dot"] = "euclidean"
    """euclidean: -|u - v|^2; dot: u.v, which is GFJA if items are on the sphere."""
    user_space: Space = "sphere"
    """Space of the user vectors: norm 1 (sphere), at most 1 (ball), or free."""
    item_space: Literal["free", "ball", "lazy-ball", "sphere"] = "ball"
    """lazy-ball: an item is put back into the ball when it is next looked up, as in the authors'
    code, so the saved vectors may be outside of it."""
    user_std: Annotated[float, Bound(gt=0)] = 0.01
    """Standard deviation of the start values of users; on the sphere only their direction
    remains."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similarity == "euclidean":
            refuse_fitting(self.loss, "DPCML with similarity = 'euclidean'")
        if self.gamma == "learned" and (self.loss.reduce != "top" or self.loss.kind != "hinge"):
            raise InputError(
                "gamma = 'learned' needs hinge losses of which the largest are kept",
                remedy="use loss.kind = 'hinge' and loss.reduce = 'top'",
            )

    def build(self, train: Dataset) -> Network:
        return _DPCML(self, train)


class _DPCML(Network):
    def __init__(self, recipe: DPCML, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users, self.n_items = train.n_users, train.n_items
        # A row holds all vectors of a user, one after the other.
        self.user = embedding(train.n_users, recipe.vectors * recipe.dim, recipe.user_std)
        self.item = embedding(train.n_items, recipe.dim, recipe.dim**-0.5)
        with torch.no_grad():
            project(self.user.weight.view(-1, recipe.dim), recipe.user_space)
            project(
                self.item.weight, "ball" if recipe.item_space == "lazy-ball" else recipe.item_space
            )
        self.count: Tensor | None
        counts = (
            vector_counts(train.pairs.csr.getnnz(1), recipe.vectors, recipe.growth, recipe.rounding)
            if recipe.assign == "adaptive"
            else None
        )
        self.register_buffer(
            "count", None if counts is None else torch.from_numpy(counts), persistent=False
        )
        self.gamma = nn.Embedding(len(train.pairs), 1) if recipe.gamma == "learned" else None
        if self.gamma is not None:
            nn.init.zeros_(self.gamma.weight)
        over_all = recipe.diversity.over == "all" and self._diverse
        self.rows = (
            *(() if over_all else (self.user,)),
            self.item,
            *(() if self.gamma is None else (self.gamma,)),
        )

    @property
    def _diverse(self) -> bool:
        return self.recipe.vectors > 1 and self.recipe.diversity.weight > 0

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        if recipe.item_space == "lazy-ball":
            keep_in(self.item, "ball", rows=torch.cat([batch.pos, batch.neg.reshape(-1)]))
        users = self.user(batch.user).view(len(batch), recipe.vectors, -1)
        value, winner = self._compare(users, batch)
        # A learned threshold needs the losses of all negatives.
        chosen = None if self.gamma is not None else self._choose(value, batch)
        negatives = batch.neg.expand(len(batch), -1)
        if chosen is not None:
            negatives = negatives.gather(1, chosen.place)
            winner = torch.cat([winner[:, :1], winner[:, 1:].gather(1, chosen.place)], dim=1)
        # Of all compared vectors, only the winners are read again with a gradient.
        items = self.item(torch.cat([batch.pos[:, None], negatives], dim=1))
        value = similarity_of_winner(recipe.similarity, users, items, winner)
        pos, neg = value[:, 0], value[:, 1:]
        if self.gamma is None:
            pair = pair_loss(
                recipe.loss,
                pos,
                neg,
                n_items=self.n_items,
                mask=batch.mask,
                log_q=batch.log_q,
                chosen=chosen,
            )
        else:
            pair = self._above_threshold(self.gamma, pos, neg, batch)
        return Terms(pair, self._spread(users, batch, negatives.shape[1]))

    def _choose(self, value: Tensor, batch: Batch) -> Chosen | None:
        return choose(
            self.recipe.loss,
            value[:, 0],
            value[:, 1:],
            n_items=self.n_items,
            mask=batch.mask,
            log_q=batch.log_q,
        )

    @torch.no_grad()
    def _compare(self, users: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the similarity to the nearest vector of the user, and the index of that vector.

        Both are [B, 1 + K], the positive first and then the negatives.
        """
        weight, similarity = self.item.weight.detach(), self.recipe.similarity
        if batch.shared:
            pos = similarity_multi(
                similarity, users.detach(), weight.index_select(0, batch.pos)[:, None]
            )
            each = torch.cat(
                [pos, similarity_multi(similarity, users, weight.index_select(0, batch.neg))], dim=2
            )
        else:
            rows = torch.cat([batch.pos[:, None], batch.neg], dim=1)
            each = similarity_multi(
                similarity,
                users.detach(),
                weight.index_select(0, rows.view(-1)).view(*rows.shape, -1),
            )
        valid = self._valid(batch.user)
        if valid is not None:
            each = each.masked_fill(~valid[:, :, None], -torch.inf)
        return each.max(1)

    def _valid(self, users: Tensor | None = None) -> Tensor | None:
        """Return which vectors users have, bool [n, C]; None: all of them."""
        if self.count is None:
            return None
        count = self.count if users is None else self.count[users]
        return torch.arange(self.recipe.vectors, device=count.device) < count[:, None]

    def _above_threshold(
        self, gamma: nn.Embedding, pos: Tensor, neg: Tensor, batch: Batch
    ) -> Tensor:
        """Return gamma + sum_k [l_k - gamma]+ / kappa of each pair, [B].

        It bounds the mean of the kappa largest l_k from above, and equals it at the best gamma.
        """
        each = F.relu(self.recipe.loss.margin - pos[:, None] + neg)
        if batch.mask is not None:
            each = each * batch.mask
        threshold = gamma(batch.row) * self.recipe.gamma_rate
        kappa = self.recipe.loss.n_kept(neg.shape[1])
        return threshold[:, 0] + F.relu(each - threshold).sum(1) / kappa

    def _spread(self, users: Tensor, batch: Batch, kept: int) -> Tensor | None:
        if not self._diverse:
            return None
        settings = self.recipe.diversity
        if settings.over == "all":
            each = diversity(
                settings,
                self.user.weight.view(self.n_users, self.recipe.vectors, -1),
                self._valid(),
            )
        else:
            each = diversity(settings, users, self._valid(batch.user))
        # The published weight is for a sum over the triplets of a batch, not for their mean.
        triplets = len(batch) * (kept if self.recipe.loss.reduce == "each" else 1)
        return settings.weight / triplets * each.mean()

    def constrain(self, batch: Batch) -> None:
        keep_in(self.user, self.recipe.user_space, vectors=self.recipe.vectors)
        if self.recipe.item_space != "lazy-ball":
            keep_in(self.item, self.recipe.item_space)
        if self.gamma is not None:
            with torch.no_grad():
                self.gamma.weight.clamp_(min=0)

    def pair_task(self) -> PairTask:
        recipe = self.recipe
        if recipe.gamma == "learned":
            raise without_kernel("gamma = 'learned'", "use closed")
        if recipe.item_space == "lazy-ball":
            raise without_kernel("item_space = 'lazy-ball'", "use ball")
        if self._diverse and recipe.diversity.over == "all":
            raise without_kernel("diversity.over = 'all'", "use batch")
        return PairTask(
            self.user,
            self.item,
            recipe.loss,
            recipe.similarity,
            vectors=recipe.vectors,
            count=self.count,
            user_space=recipe.user_space,
            item_space=recipe.item_space,
            diversity=recipe.diversity,
        )

    def scorer(self) -> Factors | MultiFactors:
        users, items = frozen(self.user), frozen(self.item)
        if self.recipe.vectors == 1:
            return Factors(users, items, self.recipe.similarity)
        count = None if self.count is None else self.count.clone()
        return MultiFactors(
            users.view(self.n_users, self.recipe.vectors, -1), items, self.recipe.similarity, count
        )


def vector_counts(
    pairs: np.ndarray, most: int, growth: str = "log2", rounding: str = "floor"
) -> np.ndarray:
    """Return the number of vectors of each user, int64 [n_users]. RECONSTRUCTED.

    It is min(most, max(growth(n), 1)), where n is the number of training pairs.

    Args:
        pairs: training pairs per user [n_users].
        most: C.
        growth, rounding: as in the recipe.
    """
    n = np.maximum(pairs, 1).astype(np.float64)
    value = {"log2": np.log2(n), "sqrt": np.sqrt(n), "linear": n / 10}[growth]
    # 1e-9: the logarithm of a power of two must count as whole.
    whole = {
        "floor": np.floor(value + 1e-9),
        "round": np.floor(value + 0.5),
        "ceil": np.ceil(value - 1e-9),
    }[rounding]
    return np.clip(whole, 1, most).astype(np.int64)
