"""The candidates of a pair, compiled by numba: draws from a pool without the user's items."""

from __future__ import annotations

import numpy as np

from recsys.kernels.arguments import Candidates, Cell
from recsys.kernels.counter import compiled, uniform

__all__ = ["candidates_of", "place_in_sieve"]


@compiled
def place_in_sieve(item: int) -> np.uint64:
    """Return a hash of an item; its low bits are the item's place in a sieve."""
    z = np.uint64(item) * np.uint64(0x9E3779B97F4A7C15)
    return z >> np.uint64(32)


@compiled
def _is_observed(given: Candidates, user: int, item: int) -> bool:
    """Return whether a user has a training interaction with an item.

    The sieve answers no for most items with one read; the others are looked up.
    """
    first_word = given.words[user]
    last_bit = np.uint64(64 * (given.words[user + 1] - first_word)) - np.uint64(1)
    bit = place_in_sieve(item) & last_bit
    word = given.sieve[first_word + np.int64(bit >> np.uint64(6))]
    if (word >> (bit & np.uint64(63))) & np.uint64(1) == 0:
        return False
    first = given.indptr[user]
    length = given.indptr[user + 1] - first
    while length > 1:
        half = length >> 1
        if given.indices[first + half] <= item:
            first += half
        length -= half
    return length == 1 and given.indices[first] == item


@compiled
def _draw(cell: Cell, key: np.uint64, counter: np.uint64) -> int:
    """Return an item of the pool."""
    size = len(cell.pool)
    place = uniform(key, counter) * size
    index = int(place)
    if len(cell.share) and place - index >= cell.share[index]:
        index = cell.alias[index]
    return cell.pool[index]


@compiled
def candidates_of(given: Candidates, cell: Cell, row: int, user: int, items: np.ndarray) -> int:
    """Fill in the candidates of a pair, items[1:], and return how many are negatives.

    An item that is observed in every round is left out.
    """
    number = 0
    if not len(cell.pool):
        return number
    rounds = max(given.rounds, 0) + 1
    counter = np.uint64(row) * np.uint64(given.number * rounds)
    for k in range(given.number):
        for attempt in range(rounds):
            drawn = np.uint64(k * rounds + attempt)
            item = _draw(cell, given.key, counter + drawn)
            if given.rounds < 0 or not _is_observed(given, user, item):
                number += 1
                items[number] = item
                break
    return number
