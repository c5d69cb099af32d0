"""DeCA: denoising by cross-model agreement; two models agree on clean interactions, not on noise.

Symbols: f and g are the probabilities that user u likes item i, of a target and an auxiliary model.
h1 = P(observed | not liked) and h2 = P(observed | liked), of two more models. Each is the logistic
function of an inner product of its own vectors. C1, C2 > 0 replace minus the log of a probability
that is taken to be nearly 0.

Objective: mean over observed pairs and negatives (each pair with the mean of its negatives) of

    alpha KL(g || f) + (1 - alpha) KL(f || g) - E,      KL that of two Bernoulli distributions,

where E is the expected log likelihood of the observation if the truth is drawn from f. Steps
alternate:

    against false positives    observed  (1 - f) log h1         negative  (1 - f) log(1 - h1) - C1 f
    against false negatives    observed  f log h2 - C2 (1 - f)  negative  f log(1 - h2)

plus l2 / (2 |U|) times the squared norm of the target, |U| the number of users; the norms of g, h1
and h2 are not penalised. Every log of KL and E is that of a probability + 1e-5: without it, a pair
that f and g are certain about in opposite ways has an unbounded gradient. Items are ranked by f.

DeCA(p), `pretrain` > 0: g has the architecture of f and is trained alone by binary cross-entropy
for that many epochs, with l2 on it. Afterwards it is frozen.

Source: Wang, Xin, Meng, Jose, Feng, He, "Learning robust recommenders through cross-model
agreement", WWW 2022 ("denoising with cross-model agreement").

Differs: the kind of a step follows epoch + step, so that a run can be resumed (the first step of
the released code is of both kinds at once, apparently by mistake). The target is given by `target`
and `layers`, and the auxiliary model is matrix factorisation as in the paper; h1 and h2 are matrix
factorisation for every target. Several negatives of a pair are averaged, where the code adds them
up. A CDAE is trained on pairs with their own negatives and l2 on squared norms, where the code
draws as many zeros of whole rows and adds up norms. The loss has no labels that `[train] denoise`
could weight, and needs none.

Settings of the released code, the target dim 32, lr 1e-3, 2,048 pairs a step: C1 1000 and C2 10 by
default, searched from 1 to 1000 (C1 100 or 1000 in most cells), alpha in 0, 0.5, 1, l2 in 0 to 1000
(0.01 to 1 in most cells), by data and target.

Should reproduce (Adressa, LightGCN, mean of three seeds, SIGIR 2025 re-evaluation): recall@20
0.1384 for DeCA and 0.2251 for DeCA(p), against 0.2226 for plain cross-entropy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.models import recipe as recipe_of
from recsys.nn.distinct import distinct
from recsys.nn.graph import mean_layers, mean_layers_rows, normalised_adjacency
from recsys.nn.scores import pair_scores
from recsys.nn.tables import embedding, half_square
from recsys.nn.terms import Terms, mean_of
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors, Scorer

__all__ = ["DeCA", "agreement", "expectation"]


@settings
class DeCA(NeedsNegatives):
    """Denoising by the agreement of two models (Wang et al., WWW 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 32
    """Embedding dimension of each model."""
    target: Literal["mf", "gmf", "neumf", "cdae"] = "mf"
    """The model that ranks; one other than mf has the start and the settings of its own method,
    except for `dim`."""
    layers: Annotated[int, Bound(ge=0, le=10)] = 0
    """Number of propagations over the graph, which turn the target mf into LightGCN."""
    alpha: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of KL(g || f); KL(f || g) has the rest."""
    c1: Annotated[float, Bound(gt=0)] = 1000.0
    """Cost of an unobserved pair that the target likes, in steps against false positives."""
    c2: Annotated[float, Bound(gt=0)] = 10.0
    """Cost of an observed pair that the target does not like, in steps against false negatives."""
    pretrain: Annotated[int, Bound(ge=0)] = 0
    """DeCA(p): epochs in which only the auxiliary model is trained; it is frozen afterwards.
    Patience counts these epochs too. 0: both are trained together."""
    sampler: Sampler = Sampler()
    l2: Annotated[float, Bound(ge=0)] = 0.0
    """Weight of the squared norm of the target, over the number of users; of the auxiliary model
    while that is trained alone."""
    init_std: Annotated[float, Bound(gt=0)] = 0.01
    """Standard deviation of the start values of matrix factorisation; a target with layers starts
    as LightGCN does, with 0.1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler.pool != "own":
            raise InputError(
                f"sampler.pool = '{self.sampler.pool}', but the method draws negatives per pair",
                remedy='use pool = "own"',
            )
        if self.layers and self.target != "mf":
            raise InputError(
                f"layers = {self.layers}, but target = '{self.target}' has no graph",
                remedy='use target = "mf", or layers = 0',
            )

    def build(self, train: Dataset) -> Network:
        return _DeCA(self, train)


class _DeCA(Network):
    def __init__(self, recipe: DeCA, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.n_users = train.n_users
        adjacency = normalised_adjacency(train.pairs) if recipe.layers else None
        self.target = _target(recipe, train, adjacency)
        self.auxiliary = (
            _target(recipe, train, adjacency) if recipe.pretrain else _Likes(recipe, train, None)
        )
        self.false_positive = _Likes(recipe, train, None)
        self.true_positive = _Likes(recipe, train, None)

    def loss(self, batch: Batch) -> Terms:
        recipe = self.recipe
        if batch.epoch < recipe.pretrain:
            pos, neg = self.auxiliary.logits(batch)
            return self._terms(F.softplus(-pos), F.softplus(neg), batch, self.auxiliary)
        f = self.target.logits(batch)
        if recipe.pretrain:
            with torch.no_grad():
                g = self.auxiliary.eval().logits(batch)
        else:
            g = self.auxiliary.logits(batch)
        positives = (batch.epoch + batch.step) % 2 == 0  # a step against false positives
        likelihood = self.false_positive if positives else self.true_positive
        h, cost = likelihood.logits(batch), recipe.c1 if positives else recipe.c2
        terms = [
            agreement(f[part], g[part], recipe.alpha)
            - expectation(f[part], h[part], observed=part == 0, positives=positives, cost=cost)
            for part in (0, 1)
        ]
        return self._terms(terms[0], terms[1], batch, self.target)

    def _terms(self, pos: Tensor, neg: Tensor, batch: Batch, ranking: _Model) -> Terms:
        extra = (
            self.recipe.l2 / self.n_users * half_square(*ranking.parameters())
            if self.recipe.l2
            else None
        )
        if batch.epoch == 0 and batch.step == 0:
            # Give every parameter a gradient of 0 once: checkpoints need an optimiser state of each
            # parameter from the first step on.
            zero = 0 * half_square(*self.parameters())
            extra = zero if extra is None else extra + zero
        return Terms(pos + mean_of(neg, batch.mask), extra)

    def scorer(self) -> Scorer:
        return self.target.scorer()


class _Model(Protocol):
    """A network of DeCA: it returns logits of pairs; the target and its auxiliary can rank."""

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of the pairs [B] and of their negatives [B, K]."""

    def scorer(self) -> Scorer: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def eval(self) -> _Model: ...


def _target(recipe: DeCA, train: Dataset, adjacency: Tensor | None) -> _Model:
    if recipe.target == "mf":
        return _Likes(recipe, train, adjacency)
    backbone = recipe_of(recipe.target)(dim=recipe.dim, sampler=recipe.sampler)
    return cast("_Model", backbone.build(train))


class _Likes(nn.Module):
    """Logits of a probability per user and item, from vectors, averaged over the graph or not."""

    def __init__(self, recipe: DeCA, train: Dataset, adjacency: Tensor | None) -> None:
        super().__init__()
        self.n_users, self.layers = train.n_users, recipe.layers
        std = recipe.init_std if adjacency is None else float(recipe_of("lightgcn")().init_std)
        self.nodes = embedding(train.n_users + train.n_items, recipe.dim, std)
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.adjacency: Tensor | None

    def vectors(self) -> Tensor:
        if self.adjacency is None:
            return self.nodes.weight
        return mean_layers(self.adjacency, self.nodes.weight, self.layers)

    def scorer(self) -> Factors:
        vectors = self.vectors().detach()
        return Factors(vectors[: self.n_users].clone(), vectors[self.n_users :].clone())

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of the pairs [B] and of their negatives [B, K]."""
        size = len(batch)
        nodes = torch.cat(
            [batch.user, self.n_users + batch.pos, self.n_users + batch.neg.reshape(-1)]
        )
        if self.adjacency is None:
            vectors = self.nodes(nodes)
        else:
            rows, (index,) = distinct(nodes, n=len(self.nodes.weight))
            mean, _ = mean_layers_rows(self.adjacency, self.nodes.weight, rows, self.layers)
            vectors = F.embedding(index, mean)
        return pair_scores(batch, vectors[:size], vectors[size : 2 * size], vectors[2 * size :])


# Added within every logarithm, as in the released code: a log is at least -11.5, and its slope at
# most 1e5 times that of the probability.
_WITHIN = 1e-5


def bounded_log(logit: Tensor) -> Tensor:
    """Return log(sigma(x) + 1e-5) of logits x, the same shape; pass -x for 1 - sigma(x)."""
    return torch.log(torch.sigmoid(logit) + _WITHIN)


def agreement(f: Tensor, g: Tensor, alpha: float) -> Tensor:
    """Return the disagreement of two Bernoulli distributions, given by logits of any shape.

    It is alpha KL(g || f) + (1 - alpha) KL(f || g), in the shape of both.
    """
    yes, no = bounded_log(g) - bounded_log(f), bounded_log(-g) - bounded_log(-f)
    p, q = torch.sigmoid(f), torch.sigmoid(g)
    other_p, other_q = torch.sigmoid(-f), torch.sigmoid(-g)
    return alpha * (q * yes + other_q * no) - (1 - alpha) * (p * yes + other_p * no)


def expectation(f: Tensor, h: Tensor, *, observed: bool, positives: bool, cost: float) -> Tensor:
    """Return E, the expected log likelihood of the observation.

    Args:
        f: logits of the target.
        h: logits of h1 in steps against false positives, of h2 in the others; the shape of `f`.
        observed: True for observed pairs, False for negatives.
        positives: True in a step against false positives.
        cost: C1 or C2.
    """
    liked, unliked = torch.sigmoid(f), torch.sigmoid(-f)
    log = bounded_log(h if observed else -h)
    if positives:
        return unliked * log if observed else unliked * log - cost * liked
    return liked * log - cost * unliked if observed else liked * log
