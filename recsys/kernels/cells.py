"""The cells of an epoch: its pairs by block of users and block of items, in a random order.

An epoch has B rounds. Round r takes block w of the users together with block (w + r) mod B of the
items, for every w: no two cells of a round share a user or an item, so they can be computed at the
same time, and the result does not depend on how many are. The blocks are drawn again for each
epoch. Negatives come from the block of the positive, so they too belong to one cell only.

Source: Gemulla, Nijkamp, Haas, Sismanis, "Large-scale matrix factorization with distributed
stochastic gradient descent", KDD 2011, with negatives in addition.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from recsys.data.types import Interactions
from recsys.kernels.arguments import Cell
from recsys.kernels.candidates import place_in_sieve
from recsys.sampling import stream_seed

__all__ = ["Cells", "n_blocks", "sieve_of"]

# Blocks are so large that a pair hardly notices where its negatives come from, and so small that
# the vectors of a cell fit into the cache of a core.
_LEAST_ITEMS, _LEAST_USERS = 1024, 256
_MOST = 16


def n_blocks(n_users: int, n_items: int) -> int:
    """Return the number of blocks on each side; it does not depend on the number of threads."""
    return max(1, min(_MOST, n_items // _LEAST_ITEMS, n_users // _LEAST_USERS))


class Cells:
    """The cells of every epoch, each a function of (seed, epoch).

    Args:
        pairs: the training interactions.
        weight: how likely each item is drawn, up to a factor, float64 [n_items]; None: uniform.
        seed: seed of every draw.
        blocks: blocks on each side.
    """

    def __init__(
        self, pairs: Interactions, weight: np.ndarray | None, seed: int, blocks: int
    ) -> None:
        self.pairs, self.weight = pairs, weight
        self.seed, self.blocks = seed, blocks

    def epoch(self, epoch: int) -> list[list[Cell]]:
        """Return the cells of each round of an epoch, those of all blocks of users in order."""
        pairs, blocks = self.pairs, self.blocks
        user_block = self._blocks(pairs.n_users, epoch, "users")
        item_block = self._blocks(pairs.n_items, epoch, "items")
        order = self._order(len(pairs), epoch, "order")
        row = np.empty(len(pairs), np.int32)
        user = np.empty(len(pairs), np.int32)
        item = np.empty(len(pairs), np.int32)
        bounds = np.zeros(blocks * blocks + 1, np.int64)
        _sort(
            order, pairs.user, pairs.item, user_block, item_block, blocks, bounds, row, user, item
        )
        pools = [self._pool(np.flatnonzero(item_block == block)) for block in range(blocks)]
        return [
            [
                Cell(row[span], user[span], item[span], *pools[(block + r) % blocks])
                for block in range(blocks)
                for span in (slice(*bounds[r * blocks + block : r * blocks + block + 2]),)
            ]
            for r in range(blocks)
        ]

    def _order(self, size: int, epoch: int, name: str) -> np.ndarray:
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, "pair", name))
        order: np.ndarray = torch.randperm(size, generator=generator).numpy()
        return order

    def _blocks(self, size: int, epoch: int, name: str) -> np.ndarray:
        """Return the block of each row, int32 [size]; the sizes of blocks differ by at most one."""
        return (self._order(size, epoch, name) * self.blocks // size).astype(np.int32)

    def _pool(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the items of a block that may be drawn, and their alias table."""
        if self.weight is None:
            return items.astype(np.int32), np.empty(0), np.empty(0, np.int32)
        weight = self.weight[items]
        items, weight = items[weight > 0], weight[weight > 0]
        share = weight * (len(weight) / max(weight.sum(), 1e-300))
        alias = np.arange(len(weight), dtype=np.int32)
        _fill_alias(share, alias, np.empty(len(weight), np.int64), np.empty(len(weight), np.int64))
        return items.astype(np.int32), share, alias


@numba.njit(nogil=True, cache=True)
def _sort(
    order: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    user_block: np.ndarray,
    item_block: np.ndarray,
    blocks: int,
    bounds: np.ndarray,
    row: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
) -> None:
    """Fill in the pairs by round and block of users, those of a cell in the given order."""
    last = np.zeros(blocks * blocks + 1, np.int64)
    for n in range(len(users)):
        w = user_block[users[n]]
        last[(item_block[items[n]] - w + blocks) % blocks * blocks + w + 1] += 1
    for cell in range(blocks * blocks):
        last[cell + 1] += last[cell]
        bounds[cell + 1] = last[cell + 1]
    for place in range(len(order)):
        n = order[place]
        w = user_block[users[n]]
        cell = (item_block[items[n]] - w + blocks) % blocks * blocks + w
        row[last[cell]] = n
        user[last[cell]] = users[n]
        item[last[cell]] = items[n]
        last[cell] += 1


@numba.njit(nogil=True, cache=True)
def _fill_alias(share: np.ndarray, alias: np.ndarray, small: np.ndarray, large: np.ndarray) -> None:
    """Turn weights of mean 1 into an alias table.

    Place i is kept with probability share[i], and replaced by alias[i] otherwise. Source: Vose, "A
    linear algorithm for generating random numbers with a given distribution", 1991.
    """
    n_small = 0
    n_large = 0
    for i in range(len(share)):
        if share[i] < 1:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small and n_large:
        n_small -= 1
        less = small[n_small]
        more = large[n_large - 1]
        alias[less] = more
        share[more] -= 1 - share[less]
        if share[more] < 1:
            n_large -= 1
            small[n_small] = more
            n_small += 1
    for i in range(n_small):  # left by rounding
        share[small[i]] = 1.0
    for i in range(n_large):
        share[large[i]] = 1.0


def sieve_of(indptr: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the sieve of each user begins, int64 [n_users + 1], and the sieves, uint64.

    A sieve has 16 to 32 bits for each item of the user, and at least 64.
    """
    needed = np.maximum(np.diff(indptr), 4) * 16 / 64
    size = (1 << np.ceil(np.log2(needed)).astype(np.int64)).clip(1)
    words = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    sieve = np.zeros(words[-1], np.uint64)
    _fill_sieve(indptr, indices, words, sieve)
    return words, sieve


@numba.njit(nogil=True, cache=True)
def _fill_sieve(
    indptr: np.ndarray, indices: np.ndarray, words: np.ndarray, sieve: np.ndarray
) -> None:
    for user in range(len(indptr) - 1):
        last_bit = np.uint64(64 * (words[user + 1] - words[user])) - np.uint64(1)
        for n in range(indptr[user], indptr[user + 1]):
            bit = place_in_sieve(indices[n]) & last_bit
            word = words[user] + np.int64(bit >> np.uint64(6))
            sieve[word] |= np.uint64(1) << (bit & np.uint64(63))
