"""Training pairs -> a stream of batches, on the device. A sampler never sees a model.

There are two streams: batches of pairs, each with its negatives, and batches of users, each with all its items, for losses
over whole rows. A network says which one it wants (`Network.sampler`).

Every draw is a function of (seed, epoch, step) alone: each step seeds its generator anew. So a run that stops anywhere can go
on from any step with the same bytes, and nothing of the sampler needs to be stored but where it stood.

The batches of an epoch are even: none is larger than `batch_size`, and their lengths differ by at most one (`place_of`). A rest
as a last batch would be averaged over few pairs and yet step as far as the others: docs/decisions/0011-short-last-batches.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Interactions
from recsys.errors import InputError

__all__ = [
    "Batch",
    "PairStream",
    "Sampler",
    "Stream",
    "UserBatch",
    "UserStream",
    "mixture_log_q",
    "place_of",
    "stream",
    "stream_seed",
]

# Multiplier of Knuth's multiplicative hashing for 64 bits, as a signed integer.
_HASH = -7046029254386353131

# Negatives drawn at a time: the batches of several steps where they are small, so that drawing costs little beside a step.
_DRAWS = 1 << 15


@settings
class Sampler:
    """Where the negatives of a pair come from.

    Hardness is not decided here: the loss keeps some of the candidates that are drawn (`Loss.reduce`). docs/negatives.md lists every rule.
    """

    negatives: Annotated[int, Bound(ge=0)] = 1
    """Candidates per pair ("own"), or drawn for the pool of a batch ("shared", "mixed"); not used by "in-batch" and "all"."""
    pool: Literal["own", "shared", "in-batch", "mixed", "all"] = "own"
    """own: each pair draws its own; shared: one draw serves the whole batch (scores become one matrix product);
    in-batch: the positives of the other pairs of the batch; mixed: these and one draw, joined (Yang et al., WWW companion 2020);
    all: every item that the user has not met."""
    proposal: Literal["uniform", "popularity"] = "uniform"
    """Of what is drawn: uniform over items, or proportional to (train count)^alpha."""
    items: Literal["all", "warm"] = "all"
    """Which items may be candidates: all, or those with a train pair. all lets the features of new items push users away."""
    alpha: Annotated[float, Bound(ge=0)] = 0.75
    """Exponent of the popularity proposal; items without a train pair are never drawn when it is positive."""
    reject: bool = True
    """Never use a train positive of the user as a negative. "own" draws again, at most `rounds` times, and masks what is
    left; "shared", "in-batch" and "mixed" mask only the pair's own positive, which is cheap, and say so here."""
    strict: bool = False
    """"shared", "in-batch" and "mixed": mask every train positive of the user, not only the pair's own; costs a look at the histories."""
    rounds: Annotated[int, Bound(ge=1, le=100)] = 8
    """Bound on the rounds of redrawing."""
    unit: Literal["pair", "triplet"] = "pair"
    """What train.batch_size counts. pair: pairs, each with all its negatives. triplet: pairs with one negative each, of which an
    epoch has `negatives` for every pair, shuffled together: steps are smaller, and as many times more."""

    def __post_init__(self) -> None:
        if self.unit == "triplet" and (self.pool != "own" or self.negatives < 1):
            raise InputError(
                f"unit = 'triplet' gives each of its own negatives a place in the epoch, got pool = '{self.pool}', "
                f"negatives = {self.negatives}",
                remedy='use pool = "own" and negatives of 1 or more, or unit = "pair"',
            )
        if self.pool in ("in-batch", "all") and self.proposal != "uniform":
            remedy = 'use pool = "own", "shared" or "mixed", or leave proposal out'
            raise InputError(
                f"proposal = '{self.proposal}' says how to draw, and pool = '{self.pool}' draws nothing",
                remedy=remedy,
            )
        if self.pool in ("own", "all") and self.strict:
            cause = f"strict is for a pool of negatives that pairs share, which may hold positives of a user, and pool = '{self.pool}' is none"
            raise InputError(cause, remedy="leave strict out")

    def idle(self) -> set[str]:
        """The settings that have no effect beside the others."""
        works = {
            "negatives": self.pool not in ("in-batch", "all"),
            "alpha": self.proposal == "popularity",
            "reject": self.pool == "own",
            "rounds": self.pool == "own" and self.reject,
        }
        return {name for name, does in works.items() if not does}


@dataclass(frozen=True, eq=False)
class Batch:
    """What a sampler yields: tensors on the device, nothing else.

    Args:
        row: identity of each pair, its position in the training interactions, int64 [B].
        user, pos: rows, int64 [B].
        neg: item rows, int64 [B, K], or [K] for a pool that the batch shares.
        mask: bool [B, K], False where a candidate is no negative; None where all are.
        log_q: log proposal probability of `pos` [B] and `neg` (its shape), or None for a uniform proposal.
        epoch, step: position in the stream; step counts within the epoch.
    """

    row: Tensor
    user: Tensor
    pos: Tensor
    neg: Tensor
    mask: Tensor | None
    log_q: tuple[Tensor, Tensor] | None
    epoch: int
    step: int

    def __len__(self) -> int:
        return int(self.user.shape[0])

    @property
    def shared(self) -> bool:
        """Whether the batch shares one pool of negatives."""
        return self.neg.dim() == 1


@dataclass(frozen=True, eq=False)
class UserBatch:
    """Users, each with all its training items.

    Args:
        user: rows, int64 [B].
        item: the item rows of all of them, one user after the other, int64 [P]; none twice for a user.
        owner: which user of the batch an item belongs to, int64 [P], ascending in 0..B-1.
        epoch, step: position in the stream; step counts within the epoch.
    """

    user: Tensor
    item: Tensor
    owner: Tensor
    epoch: int
    step: int

    def __len__(self) -> int:
        return int(self.user.shape[0])


class Stream(Protocol):
    """What the loop reads: the same batches for the same epoch, from any step on."""

    @property
    def size(self) -> int:
        """What an epoch visits, once each: pairs or users. The lengths of its batches add up to it."""
        ...

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]: ...


def stream(
    pairs: Interactions,
    sampler: Sampler | None,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Stream:
    """The stream a network wants: of pairs with the negatives of `sampler`, or, without one, of whole users."""
    if sampler is None:
        return UserStream(pairs, batch_size=batch_size, seed=seed, device=device)
    return PairStream(pairs, sampler, batch_size=batch_size, seed=seed, device=device)


def stream_seed(seed: int, *path: int | str) -> int:
    """A seed for one named stream of random numbers, 63 bits: the same for the same path, unrelated for others."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def place_of(step: int, size: int, steps: int) -> int:
    """Return where a step begins in an epoch of `size` pairs or users: batches that differ by one at most, and cover it."""
    return step * size // steps


class PairStream:
    """Batches of observed pairs, each with its negatives.

    Args:
        pairs: the training interactions; they are moved to the device once.
        sampler: how negatives are drawn.
        batch_size: pairs (or triplets, `Sampler.unit`) per batch, at most; the batches of an epoch are even.
        seed: of every draw.
        device: where batches live.
        met: pairs that are no negatives either, as those of train where `pairs` are of another part; for negatives of a pair's "own".
    """

    def __init__(
        self,
        pairs: Interactions,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        met: Interactions | None = None,
    ) -> None:
        self.sampler, self.batch_size, self.seed, self.device = (
            sampler,
            batch_size,
            seed,
            torch.device(device),
        )
        # As triplets a pair comes as often as it has negatives, each time with one of them.
        self._passes = sampler.negatives if sampler.unit == "triplet" else 1
        self._drawn = 1 if sampler.unit == "triplet" else sampler.negatives
        self.n_items = pairs.n_items
        self.user = torch.tensor(pairs.user, dtype=torch.int64, device=self.device)
        self.item = torch.tensor(pairs.item, dtype=torch.int64, device=self.device)
        keys = self.user * self.n_items + self.item
        self._members = _Members(
            keys if met is None else torch.cat([keys, torch.tensor(met.key, device=self.device)])
        )
        known = (
            self.item
            if met is None
            else torch.tensor(met.item, dtype=torch.int64, device=self.device)
        )
        self._warm = (
            None if sampler.items == "all" else torch.bincount(known, minlength=self.n_items) > 0
        )
        if sampler.pool == "all" or sampler.strict:
            every = torch.arange(self.n_items, device=self.device)
            self._everything = every if self._warm is None else every[self._warm]
            self._history = UserStream(pairs, batch_size=batch_size, seed=seed, device=device)
        self._cdf, self._log_q = self._proposal()
        self._mixtures: dict[int, Tensor] = {}  # by the length of a batch: an epoch has two at most

    @property
    def size(self) -> int:
        """Pairs, or triplets, per epoch."""
        return len(self.user) * self._passes

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.size // self.batch_size)

    def _place(self, step: int) -> int:
        return place_of(step, self.size, len(self))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on: every pair (or triplet) once, in an order of its own."""
        order = torch.randperm(
            self.size, generator=self._generator(epoch, "order"), device=self.device
        )
        if self._passes > 1:
            order = order.div_(self._passes, rounding_mode="floor")
        users, items = self.user[order], self.item[order]
        generator = torch.Generator(device=self.device)
        steps = (
            max(1, _DRAWS // max(1, self.batch_size * self._drawn))
            if self.sampler.pool == "own"
            else 1
        )
        for first in range(start - start % steps, len(self), steps):
            generator.manual_seed(stream_seed(self.seed, epoch, first))
            until = min(first + steps, len(self))
            base, end = self._place(first), self._place(until)
            neg, mask = self._negatives(users[base:end], items[base:end], generator)
            for step in range(max(first, start), until):
                span = slice(self._place(step), self._place(step + 1))
                own = slice(span.start - base, span.stop - base)
                pos = items[span]
                mine = neg if neg.dim() == 1 else neg[own]
                table = self._mixture(len(pos)) if self.sampler.pool == "mixed" else self._log_q
                log_q = None if table is None else (table[pos], table[mine])
                yield Batch(
                    order[span],
                    users[span],
                    pos,
                    mine,
                    None if mask is None else mask[own],
                    log_q,
                    epoch,
                    step,
                )

    def _negatives(
        self, user: Tensor, pos: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Negatives of some pairs, [n, K] or [K] for a pool, and where they are none."""
        if self.sampler.pool == "own":
            neg = self._draw((len(user), self._drawn), generator)
            return (
                self._without_positives(user, neg, generator)
                if self.sampler.reject
                else (neg, None)
            )
        if self.sampler.pool == "all":
            return self._everything, self._unmet(user)
        neg = (
            pos
            if self.sampler.pool == "in-batch"
            else self._draw((self.sampler.negatives,), generator)
        )
        neg = torch.cat([pos, neg]) if self.sampler.pool == "mixed" else neg
        return neg, self._unmet_of(user, neg) if self.sampler.strict else neg[None, :] != pos[
            :, None
        ]

    def _unmet(self, user: Tensor) -> Tensor:
        """Which of all candidates a user has not met in training, bool [n, n_items], or [n, warm items]."""
        batch = self._history.batch(user)
        mask = torch.ones(len(user), self.n_items, dtype=torch.bool, device=self.device)
        mask[batch.owner, batch.item] = False
        return mask if self._warm is None else mask[:, self._everything]

    def _unmet_of(self, user: Tensor, pool: Tensor) -> Tensor:
        """Which items of a pool [K] a user has not met in training, bool [n, K]."""
        distinct, where = torch.unique(pool, return_inverse=True)
        column = torch.full((self.n_items,), -1, dtype=torch.int64, device=self.device)
        column[distinct] = torch.arange(len(distinct), device=self.device)
        batch = self._history.batch(user)
        at = column[batch.item]
        met = (at >= 0).nonzero().view(-1)
        mask = torch.ones(len(user), len(distinct), dtype=torch.bool, device=self.device)
        mask[batch.owner[met], at[met]] = False
        return mask[:, where]

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if self._cdf is None:
            return torch.randint(self.n_items, shape, generator=generator, device=self.device)
        uniform = torch.rand(shape, generator=generator, device=self.device, dtype=torch.float64)
        return torch.searchsorted(self._cdf, uniform, right=True).clamp_(max=self.n_items - 1)

    def _without_positives(
        self, user: Tensor, neg: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Redraw what hits a positive, at most `rounds` times, and mask what still does."""
        base = user[:, None] * self.n_items
        if self.device.type == "cpu":
            flat, keys = neg.view(-1), (base + neg).view(-1)
            hit = self._members.find(keys)
            for _ in range(self.sampler.rounds):
                if not len(hit):
                    return neg, None
                flat[hit] = self._draw((len(hit),), generator)
                owner = hit.div(neg.shape[1], rounding_mode="floor")
                hit = hit[self._members.contains(user[owner] * self.n_items + flat[hit])]
            if not len(hit):
                return neg, None
            mask = torch.ones(neg.numel(), dtype=torch.bool)
            mask[hit] = False
            return neg, mask.view_as(neg)
        # On an accelerator a data-dependent shape would wait for the device: redraw everywhere, keep where needed.
        taken = self._members.contains(base + neg)
        for _ in range(min(self.sampler.rounds, 3)):
            neg = torch.where(taken, self._draw(tuple(neg.shape), generator), neg)
            taken = self._members.contains(base + neg)
        return neg, ~taken

    def _proposal(self) -> tuple[Tensor | None, Tensor | None]:
        """Cumulative proposal for drawing, and log q for correcting the softmax; both None where uniform."""
        if self.sampler.pool == "all":
            return None, None
        counts = torch.bincount(self.item, minlength=self.n_items).double()
        if self.sampler.pool == "in-batch":
            return None, (counts / counts.sum()).clamp_min(1e-12).log().float()
        uniform = self.sampler.proposal == "uniform" or self.sampler.alpha == 0
        if uniform and self._warm is None:
            return None, None
        weight = (
            self._warm.double()
            if uniform and self._warm is not None
            else counts.pow(self.sampler.alpha) * (counts > 0)
        )
        q = weight / weight.sum()
        cdf = q.cumsum(0)
        # Rounded sums may end below 1, and no draw may fall behind the last item that can be drawn.
        cdf = torch.where(cdf >= cdf[-1:], 1.0, cdf)
        return cdf, None if uniform else q.clamp_min(1e-12).log().float()

    def _mixture(self, size: int) -> Tensor:
        """Log proposal of every item [n_items] for a batch of `size` pairs and what is drawn beside them."""
        if size not in self._mixtures:
            # A cumulative proposal is read back as one, so that there is one truth about what is drawn.
            drawn = None if self._cdf is None else self._cdf.diff(prepend=self._cdf.new_zeros(1))
            count = torch.bincount(self.item, minlength=self.n_items)
            self._mixtures[size] = mixture_log_q(count, size, self.sampler.negatives, drawn)
        return self._mixtures[size]

    def _generator(self, *path: int | str) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(stream_seed(self.seed, *path))


def mixture_log_q(
    count: Tensor, in_batch: int, drawn: int, proposal: Tensor | None = None
) -> Tensor:
    """Log proposal of every item [n_items] for a pool of positives of the batch and of drawn items, joined.

    q(j) = (in_batch * count_j / sum of counts + drawn * p_j) / (in_batch + drawn): what to subtract from the scores of the softmax.
    Source: Yang, Yi, Cheng, Hong, Li, Wang, Xu, Chi, "Mixed negative sampling for learning two-tower neural networks in recommendations", WWW
    companion 2020; the correction of Yi et al., RecSys 2019.

    Args:
        count: training pairs of every item [n_items].
        in_batch: positives of the batch in the pool.
        drawn: drawn items in the pool; above 0 wherever an item may have no pair.
        proposal: p, how likely a draw is each item [n_items]; None: uniform.
    """
    frequency = count.double() / count.sum().clamp_min(1)
    q = (
        in_batch * frequency
        + (drawn / len(count) if proposal is None else drawn * proposal.double())
    ) / (in_batch + drawn)
    return F.threshold(q, 1e-12, 1e-12).log().float()


class UserStream:
    """Batches of users with all their training items. Users without any are left out.

    Args:
        pairs: the training interactions; what occurs twice counts once.
        batch_size: users per batch, at most; the batches of an epoch are even.
        seed: of the order.
        device: where batches live.
    """

    def __init__(
        self, pairs: Interactions, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        matrix = pairs.csr
        self.indptr = torch.tensor(matrix.indptr, dtype=torch.int64, device=self.device)
        self.item = torch.tensor(matrix.indices, dtype=torch.int64, device=self.device)
        self.user = (self.indptr.diff() > 0).nonzero().view(-1)

    @property
    def size(self) -> int:
        """Users per epoch."""
        return len(self.user)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.user) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[UserBatch]:
        """The batches of one epoch from step `start` on: every user once, in an order of its own."""
        generator = torch.Generator(device=self.device).manual_seed(
            stream_seed(self.seed, epoch, "order")
        )
        users = self.user[torch.randperm(len(self.user), generator=generator, device=self.device)]
        for step in range(start, len(self)):
            first, end = (place_of(place, self.size, len(self)) for place in (step, step + 1))
            yield self.batch(users[first:end], epoch, step)

    def batch(self, user: Tensor, epoch: int = 0, step: int = 0) -> UserBatch:
        """The batch of the given users [B]."""
        first, count = self.indptr[user], self.indptr[user + 1] - self.indptr[user]
        owner = torch.repeat_interleave(torch.arange(len(user), device=self.device), count)
        # Position p of the batch is the (p - what came before its user)-th item of its user.
        place = (
            torch.arange(len(owner), device=self.device) + (first - count.cumsum(0) + count)[owner]
        )
        return UserBatch(user, self.item[place], owner, epoch, step)


class _Members:
    """Which (user, item) keys are positives: exact, and fast when most are not.

    A hashed bitmap answers "certainly not" for most keys with one read; the few that remain are looked up in the sorted keys.
    """

    def __init__(self, keys: Tensor) -> None:
        self.sorted = torch.unique(keys)
        bits = max(10, min(26, (16 * max(1, len(keys)) - 1).bit_length()))
        self.shift, self.low = 64 - bits, (1 << bits) - 1
        self.bitmap = torch.zeros(1 << bits, dtype=torch.bool, device=keys.device)
        self.bitmap[self._slot(self.sorted)] = True

    def contains(self, keys: Tensor) -> Tensor:
        """Bool, the shape of `keys`."""
        if not len(self.sorted):
            return torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self.sorted, keys).clamp_(max=len(self.sorted) - 1)
        return self.sorted[place] == keys

    def find(self, keys: Tensor) -> Tensor:
        """Positions of the keys [n] that are positives, ascending."""
        maybe = torch.take(self.bitmap, self._slot(keys)).nonzero().view(-1)
        return maybe[self.contains(keys[maybe])] if len(maybe) else maybe

    def _slot(self, keys: Tensor) -> Tensor:
        return (keys * _HASH).bitwise_right_shift_(self.shift).bitwise_and_(self.low)
