"""Batches of observed pairs with their negatives."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recsys.data.types import Interactions
from recsys.sampling.batches import Batch
from recsys.sampling.positives import PositivePairs
from recsys.sampling.proposals import mixture_log_q, proposal_of
from recsys.sampling.settings import Sampler
from recsys.sampling.streams import Stream, place_of, stream_seed
from recsys.sampling.user_stream import UserStream

__all__ = ["PairStream", "stream"]

# Negatives drawn at a time: those of several steps if batches are small, so that drawing is cheap
# compared with a step.
_DRAWS = 1 << 15
# Rounds of redrawing on an accelerator, where each round redraws every candidate.
_ROUNDS_ON_DEVICE = 3


def stream(
    pairs: Interactions,
    sampler: Sampler | None,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Stream:
    """Return the stream that a network needs.

    Args:
        pairs: the training interactions.
        sampler: how negatives are drawn; None: batches of users with all their items.
        batch_size, seed, device: as in `PairStream`.
    """
    if sampler is None:
        return UserStream(pairs, batch_size=batch_size, seed=seed, device=device)
    return PairStream(pairs, sampler, batch_size=batch_size, seed=seed, device=device)


class PairStream:
    """Batches of observed pairs, each with its negatives.

    Args:
        pairs: the training interactions; they are copied to the device once.
        sampler: how negatives are drawn.
        batch_size: pairs (or triplets, `Sampler.unit`) per batch, at most; the batches of an epoch
            are even.
        seed: seed of every draw.
        device: device of the batches.
        also_observed: more pairs that are not negatives, such as the training interactions if
            `pairs` are validation interactions. Used with pool = "own".
    """

    def __init__(
        self,
        pairs: Interactions,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        also_observed: Interactions | None = None,
    ) -> None:
        self.sampler, self.batch_size = sampler, batch_size
        self.seed, self.device = seed, torch.device(device)
        # With triplets a pair occurs once for each of its negatives.
        self._passes = sampler.negatives if sampler.unit == "triplet" else 1
        self._drawn = 1 if sampler.unit == "triplet" else sampler.negatives
        self.n_items = pairs.n_items
        self.user = torch.tensor(pairs.user, dtype=torch.int64, device=self.device)
        self.item = torch.tensor(pairs.item, dtype=torch.int64, device=self.device)
        keys, items = self.user * self.n_items + self.item, self.item
        if also_observed is not None:
            keys = torch.cat([keys, torch.tensor(also_observed.key, device=self.device)])
            items = torch.tensor(also_observed.item, dtype=torch.int64, device=self.device)
        self._observed = PositivePairs(keys)
        self._warm: Tensor | None = None
        if sampler.items == "warm":
            self._warm = torch.bincount(items, minlength=self.n_items) > 0
        if sampler.pool == "all" or sampler.strict:
            every = torch.arange(self.n_items, device=self.device)
            self._everything = every if self._warm is None else every[self._warm]
            self._history = UserStream(pairs, batch_size=batch_size, seed=seed, device=device)
        self._counts = torch.bincount(self.item, minlength=self.n_items)
        self._proposal = proposal_of(sampler, self._counts, self._warm)
        self._mixtures: dict[int, Tensor] = {}  # by the length of a batch: an epoch has at most two

    @property
    def size(self) -> int:
        """Pairs, or triplets, per epoch."""
        return len(self.user) * self._passes

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-self.size // self.batch_size)

    def _place(self, step: int) -> int:
        return place_of(step, self.size, len(self))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step `start` on: every pair once, shuffled."""
        order = torch.randperm(
            self.size, generator=self._generator(epoch, "order"), device=self.device
        )
        if self._passes > 1:
            order = order.div_(self._passes, rounding_mode="floor")
        users, items = self.user[order], self.item[order]
        generator = torch.Generator(device=self.device)
        steps = 1
        if self.sampler.pool == "own":
            steps = max(1, _DRAWS // max(1, self.batch_size * self._drawn))
        for first in range(start - start % steps, len(self), steps):
            generator.manual_seed(stream_seed(self.seed, epoch, first))
            until = min(first + steps, len(self))
            base, end = self._place(first), self._place(until)
            negatives, mask = self._negatives(users[base:end], items[base:end], generator)
            for step in range(max(first, start), until):
                span = slice(self._place(step), self._place(step + 1))
                own = slice(span.start - base, span.stop - base)
                neg = negatives if negatives.dim() == 1 else negatives[own]
                yield Batch(
                    order[span],
                    users[span],
                    items[span],
                    neg,
                    None if mask is None else mask[own],
                    self._log_q(items[span], neg),
                    epoch,
                    step,
                )

    def _negatives(
        self, user: Tensor, pos: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return candidates of some pairs, [n, K] or [K] for a pool, and which are negatives."""
        if self.sampler.pool == "own":
            neg = self._draw((len(user), self._drawn), generator)
            return self._redrawn(user, neg, generator) if self.sampler.reject else (neg, None)
        if self.sampler.pool == "all":
            return self._everything, self._unobserved(user)
        if self.sampler.pool == "in-batch":
            neg = pos
        else:
            neg = self._draw((self.sampler.negatives,), generator)
            neg = torch.cat([pos, neg]) if self.sampler.pool == "mixed" else neg
        if self.sampler.strict:
            return neg, self._unobserved_in(user, neg)
        return neg, neg[None, :] != pos[:, None]

    def _unobserved(self, user: Tensor) -> Tensor:
        """Return which of all candidates a user has no training interaction with, bool [n, M].

        M is the number of items, or of warm items with items = "warm".
        """
        batch = self._history.batch(user)
        mask = torch.ones(len(user), self.n_items, dtype=torch.bool, device=self.device)
        mask[batch.owner, batch.item] = False
        return mask if self._warm is None else mask[:, self._everything]

    def _unobserved_in(self, user: Tensor, pool: Tensor) -> Tensor:
        """Return which items of a pool [K] a user has no training interaction with, bool [n, K]."""
        distinct, where = torch.unique(pool, return_inverse=True)
        column = torch.full((self.n_items,), -1, dtype=torch.int64, device=self.device)
        column[distinct] = torch.arange(len(distinct), device=self.device)
        batch = self._history.batch(user)
        at = column[batch.item]
        in_pool = (at >= 0).nonzero().view(-1)
        mask = torch.ones(len(user), len(distinct), dtype=torch.bool, device=self.device)
        mask[batch.owner[in_pool], at[in_pool]] = False
        return mask[:, where]

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        cdf = self._proposal.cdf
        if cdf is None:
            return torch.randint(self.n_items, shape, generator=generator, device=self.device)
        uniform = torch.rand(shape, generator=generator, device=self.device, dtype=torch.float64)
        return torch.searchsorted(cdf, uniform, right=True).clamp_(max=self.n_items - 1)

    def _redrawn(
        self, user: Tensor, neg: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Redraw observed items, at most `rounds` times, and mask those that are left."""
        base = user[:, None] * self.n_items
        if self.device.type != "cpu":
            return self._redrawn_on_device(base, neg, generator)
        flat, keys = neg.view(-1), (base + neg).view(-1)
        hit = self._observed.find(keys)
        for _ in range(self.sampler.rounds):
            if not len(hit):
                return neg, None
            flat[hit] = self._draw((len(hit),), generator)
            owner = hit.div(neg.shape[1], rounding_mode="floor")
            hit = hit[self._observed.contains(user[owner] * self.n_items + flat[hit])]
        if not len(hit):
            return neg, None
        mask = torch.ones(neg.numel(), dtype=torch.bool)
        mask[hit] = False
        return neg, mask.view_as(neg)

    def _redrawn_on_device(
        self, base: Tensor, neg: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Redraw all candidates and keep the draws where they are needed.

        On an accelerator a shape that depends on the data would wait for the device.
        """
        taken = self._observed.contains(base + neg)
        for _ in range(min(self.sampler.rounds, _ROUNDS_ON_DEVICE)):
            neg = torch.where(taken, self._draw(tuple(neg.shape), generator), neg)
            taken = self._observed.contains(base + neg)
        return neg, ~taken

    def _log_q(self, pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the log proposals of positives and negatives; None without a correction."""
        mixed = self.sampler.pool == "mixed"
        table = self._mixture(len(pos)) if mixed else self._proposal.log_q
        return None if table is None else (table[pos], table[neg])

    def _mixture(self, size: int) -> Tensor:
        """Return the log proposal of every item [n_items] for a batch of `size` pairs."""
        if size not in self._mixtures:
            # Probabilities are read back from the cumulative ones, from which items are drawn.
            cdf = self._proposal.cdf
            drawn = None if cdf is None else cdf.diff(prepend=cdf.new_zeros(1))
            self._mixtures[size] = mixture_log_q(self._counts, size, self.sampler.negatives, drawn)
        return self._mixtures[size]

    def _generator(self, *path: int | str) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(stream_seed(self.seed, *path))
