"""Negatives of observed pairs, drawn by the rules of a sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.data.types import Interactions
from recsys.sampling.positives import PositivePairs
from recsys.sampling.proposals import mixture_log_q, proposal_of
from recsys.sampling.settings import Sampler
from recsys.sampling.transfer import to_device
from recsys.sampling.user_stream import UserStream

__all__ = ["Negatives"]

# Tables of mixed proposals kept, one per length of a batch: batches of pairs have two lengths.
_MIXTURES = 8


class Negatives:
    """The negatives of pairs, and their proposal. It has no state: each draw has its generator.

    All is drawn on the CPU and copied, so that every device gets the same negatives.

    Args:
        pairs: the training interactions. Their users may be sessions or other owners of items.
        sampler: how negatives are drawn.
        device: device of the results.
        also_observed: more pairs that are not negatives. Used with pool = "own".
        positive: item rows of the positives of an epoch, for their frequencies; None: those of
            `pairs`.
    """

    def __init__(
        self,
        pairs: Interactions,
        sampler: Sampler,
        *,
        device: torch.device,
        also_observed: Interactions | None = None,
        positive: Tensor | None = None,
    ) -> None:
        self.sampler, self.device = sampler, device
        # With triplets a pair occurs once for each of its negatives.
        self.per_pair = 1 if sampler.unit == "triplet" else sampler.negatives
        self.n_items = pairs.n_items
        user = torch.tensor(pairs.user, dtype=torch.int64)
        items = torch.tensor(pairs.item, dtype=torch.int64)
        positive = items if positive is None else positive
        keys = user * self.n_items + items
        if also_observed is not None:
            keys = torch.cat([keys, torch.tensor(also_observed.key)])
            items = torch.tensor(also_observed.item, dtype=torch.int64)
        self._observed = PositivePairs(keys)
        self._warm: Tensor | None = None
        if sampler.items == "warm":
            self._warm = torch.bincount(items, minlength=self.n_items) > 0
        if sampler.pool == "all" or sampler.strict:
            every = torch.arange(self.n_items)
            self._everything = (every if self._warm is None else every[self._warm]).to(device)
            self._history = UserStream(pairs, batch_size=1, seed=0, device=device)
        self._counts = torch.bincount(positive, minlength=self.n_items)
        self._proposal = proposal_of(sampler, self._counts, self._warm)
        log_q = self._proposal.log_q
        self._log_q = None if log_q is None else log_q.to(device)
        self._mixtures: dict[int, Tensor] = {}  # by the length of a batch

    def draw(
        self, user: Tensor, pos: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return candidates of some pairs, and which of them are negatives.

        Args:
            user, pos: user and item rows of the pairs, int64 [n], on the CPU.
            generator: of the CPU.

        Returns:
            Item rows, int64 [n, K], or [K] for a pool that the pairs share; and bool [n, K], False
            where a candidate is not a negative, or None if all are. Both are on the device.
        """
        if self.sampler.pool == "own":
            neg, mask = self._items((len(user), self.per_pair), generator), None
            if self.sampler.reject:
                neg, mask = self._redrawn(user, neg, generator)
            return self._moved(neg), None if mask is None else self._moved(mask)
        if self.sampler.pool == "all":
            return self._everything, self._unobserved(user)
        if self.sampler.pool == "in-batch":
            neg = pos
        else:
            neg = self._items((self.sampler.negatives,), generator)
            neg = torch.cat([pos, neg]) if self.sampler.pool == "mixed" else neg
        neg = self._moved(neg)
        if self.sampler.strict:
            return neg, self._unobserved_in(user, neg)
        return neg, neg[None, :] != self._moved(pos)[:, None]

    def _moved(self, tensor: Tensor) -> Tensor:
        return to_device(tensor, self.device)

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
        # One of the places of an item in the pool; the last column takes what is not in it.
        column = torch.full((self.n_items,), len(pool), dtype=torch.int64, device=self.device)
        column[pool] = torch.arange(len(pool), device=self.device)
        batch = self._history.batch(user)
        mask = torch.ones(len(user), len(pool) + 1, dtype=torch.bool, device=self.device)
        mask[batch.owner, column[batch.item]] = False
        return mask[:, column[pool]]

    def _items(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw items from the proposal, int64 of the shape."""
        cdf = self._proposal.cdf
        if cdf is None:
            return torch.randint(self.n_items, shape, generator=generator)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        return torch.searchsorted(cdf, uniform, right=True).clamp_(max=self.n_items - 1)

    def _redrawn(
        self, user: Tensor, neg: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Redraw observed items, at most `rounds` times, and mask those that are left."""
        flat, keys = neg.view(-1), (user[:, None] * self.n_items + neg).view(-1)
        hit = self._observed.find(keys)
        for _ in range(self.sampler.rounds):
            if not len(hit):
                return neg, None
            flat[hit] = self._items((len(hit),), generator)
            owner = hit.div(neg.shape[1], rounding_mode="floor")
            hit = hit[self._observed.contains(user[owner] * self.n_items + flat[hit])]
        if not len(hit):
            return neg, None
        mask = torch.ones(neg.numel(), dtype=torch.bool)
        mask[hit] = False
        return neg, mask.view_as(neg)

    def log_q(self, pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the log proposals of positives and negatives; None without a correction."""
        mixed = self.sampler.pool == "mixed"
        table = self._mixture(len(pos)) if mixed else self._log_q
        return None if table is None else (table[pos], table[neg])

    def _mixture(self, size: int) -> Tensor:
        """Return the log proposal of every item [n_items] for a batch of `size` pairs."""
        if size not in self._mixtures:
            if len(self._mixtures) >= _MIXTURES:
                self._mixtures.clear()
            # Probabilities are read back from the cumulative ones, from which items are drawn.
            cdf = self._proposal.cdf
            drawn = None if cdf is None else cdf.diff(prepend=cdf.new_zeros(1))
            table = mixture_log_q(self._counts, size, self.sampler.negatives, drawn)
            self._mixtures[size] = self._moved(table)
        return self._mixtures[size]
