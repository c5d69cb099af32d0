"""NBPO: matrix factorisation that also learns how likely a liked pair is to stay unobserved.

Symbols: R_ui = u_u . v_i is the logit of a preference. phi_ui = sigma(g_ui), g_ui = p_u . q_i, is
the flip likelihood: the probability that a pair is observed as 0 although its truth is 1. Flips
from 0 to 1 are taken as impossible. sigma is the logistic function, K the number of negatives of a
pair.

Probability of an observation:  1: sigma(R) (1 - phi);  0: 1 - sigma(R) + phi sigma(R).

    bpo       -log sigma(R) of a pair, -log(1 - sigma(R)) of a negative: no flips.
    nbpo-o    minus the log of the two probabilities: their likelihood.
    nbpo-s    minus the two probabilities: a sum instead of a product, whose gradient vanishes where
              sigma(R) is near 0 or 1.
    nbpo      the surrogate gradient: that of nbpo-s, but the derivative of every logistic factor is
              divided by the factor. Uphill,
                  pair      dR = (1 - phi) sigma(-R)             dg = -phi sigma(R)
                  negative  dR = phi sigma(-R) - sigma(R)        dg = (1 - phi) sigma(R)
              It is not the gradient of any function. It is that of log terms whose factors have no
              gradient; the reported loss is theirs. So a negative is pushed down as in bpo, and up
              in proportion to the probability that it was flipped.

Objective: mean over pairs of [loss of the pair + mean over its K negatives] + l2 / (2 B K) (|U|^2 +
|V|^2) + flip_l2 / (2 B K) (|P|^2 + |Q|^2), over all rows of the tables, B the pairs of the batch.
Items are ranked by R.

Source: Yu, Qin, "Sampling, noise and implicit feedback: noisy-label robust Bayesian point-wise
optimization", SIGIR 2020, with the gradients of its authors' code; they were checked against finite
differences where they have a function.

Differs: that code adds up the gradients of a block of 5000 pairs in the order of the file, each
positive once per negative. The same step is plain gradient descent with lr = eta B K, B the pairs
of an even batch (31,887 pairs at batch_size 5000: seven of 4,555). Here pairs are shuffled and
batches are even, where the code has a last block of 1,887, which as a sum moves less. Its eta is
multiplied by 0.99 before every epoch: `train.schedule = "exponential"` with `train.lr_decay = 0.99`
and lr = 0.99 eta B K. Logistic values are not cut to 0 and 1 beyond 10.

Should reproduce (Amazon Electronics 14-core, three negatives, eta 0.05, l2 1, flip_l2 5): F1@5
0.0392 and NDCG@5 0.0524 on validation, each at its own best epoch in the mean of ten runs, from its
authors' logs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.nn.scores import pair_scores
from recsys.nn.tables import frozen, half_square
from recsys.nn.terms import Logits, Terms, mean_of
from recsys.sampling import Batch, Sampler
from recsys.scorer import Factors

__all__ = ["NBPO", "observed_loss", "surrogate_loss", "unobserved_loss"]

Variant = Literal["nbpo", "nbpo-o", "nbpo-s", "bpo"]


@settings
class NBPO(NeedsNegatives):
    """Matrix factorisation by labels, robust to unobserved likes (Yu, Qin, SIGIR 2020)."""

    variant: Variant = "nbpo"
    """nbpo: the surrogate gradient. nbpo-o: the likelihood. nbpo-s: the sum of probabilities. bpo:
    no flips."""
    dim: Annotated[int, Bound(ge=1)] = 50
    """Embedding dimension of the preference."""
    flip_dim: Annotated[int, Bound(ge=1)] = 50
    """Embedding dimension of the flip likelihood."""
    sampler: Sampler = Sampler(negatives=4)
    l2: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the squared norms of all preference vectors, in a sum over pairs and negatives."""
    flip_l2: Annotated[float, Bound(ge=0)] = 5.0
    """Weight of the squared norms of all vectors of the flip likelihood, in the same sum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler.pool != "own":
            raise InputError(
                f"sampler.pool = '{self.sampler.pool}', but the method draws negatives per pair",
                remedy='use pool = "own"',
            )

    def build(self, train: Dataset) -> Network:
        return _NBPO(self, train)


class _NBPO(Network):
    def __init__(self, recipe: NBPO, train: Dataset) -> None:
        super().__init__()
        self.recipe, self.sampler = recipe, recipe.sampler
        self.user = _uniform(train.n_users, recipe.dim, 1.0)
        self.item = _uniform(train.n_items, recipe.dim, 1.0)
        # g starts near -6.25 and phi near 0.002: almost without flips.
        flips = recipe.variant != "bpo"
        self.flip_user = _uniform(train.n_users, recipe.flip_dim, 5.0) if flips else None
        self.flip_item = _uniform(train.n_items, recipe.flip_dim, -5.0) if flips else None

    def loss(self, batch: Batch) -> Terms:
        recipe, user = self.recipe, self.user(batch.user)
        pos, neg = pair_scores(batch, user, self.item(batch.pos), self.item(batch.neg))
        weight = recipe.l2 * half_square(self.user.weight, self.item.weight)
        if self.flip_user is None or self.flip_item is None:
            own, others = F.softplus(-pos), F.softplus(neg)
            logits = Logits(pos, neg, batch.mask)
        else:
            flip = self.flip_user(batch.user)
            own_g, other_g = pair_scores(
                batch, flip, self.flip_item(batch.pos), self.flip_item(batch.neg)
            )
            weight = weight + recipe.flip_l2 * half_square(
                self.flip_user.weight, self.flip_item.weight
            )
            if recipe.variant == "nbpo":
                own = surrogate_loss(pos, own_g, observed=True)
                others = surrogate_loss(neg, other_g, observed=False)
            else:
                log = recipe.variant == "nbpo-o"
                own = observed_loss(pos, own_g, log=log)
                others = unobserved_loss(neg, other_g, log=log)
            logits = None
        loss = own + mean_of(others, batch.mask)
        return Terms(loss, weight / batch.neg.numel(), logits)

    def scorer(self) -> Factors:
        return Factors(frozen(self.user), frozen(self.item))


def observed_loss(r: Tensor, g: Tensor, *, log: bool) -> Tensor:
    """Return minus the probability, or its log, that a pair is observed as 1.

    The probability is sigma(R) (1 - phi); the result has the shape of `r` and `g`.
    """
    probability = F.logsigmoid(r) + F.logsigmoid(-g)
    return -probability if log else -probability.exp()


def unobserved_loss(r: Tensor, g: Tensor, *, log: bool) -> Tensor:
    """Return minus the probability, or its log, that a pair is observed as 0.

    The probability is 1 - sigma(R) (1 - phi); the result has the shape of `r` and `g`.
    """
    if not log:
        return (F.logsigmoid(r) + F.logsigmoid(-g)).exp() - 1
    # sigma(-R) + phi sigma(R) in logs, which keeps both small and large values exact.
    return -torch.logaddexp(F.logsigmoid(-r), F.logsigmoid(r) + F.logsigmoid(g))


def surrogate_loss(r: Tensor, g: Tensor, *, observed: bool) -> Tensor:
    """Return a loss whose gradient is minus the surrogate gradient.

    Its value is that of log terms weighted by factors without a gradient.
    """
    liked, flipped = torch.sigmoid(r).detach(), torch.sigmoid(g).detach()
    if observed:
        return -((1 - flipped) * F.logsigmoid(r) + liked * F.logsigmoid(-g))
    return -(flipped * F.logsigmoid(r) + F.logsigmoid(-r) + liked * F.logsigmoid(g))


def _uniform(n: int, dim: int, scale: float) -> torch.nn.Embedding:
    """Return a table [n, dim] of uniform numbers between 0 and scale / sqrt(dim)."""
    table = torch.nn.Embedding(n, dim)
    with torch.no_grad():
        table.weight.uniform_(0, 1).mul_(scale / dim**0.5)
    return table
