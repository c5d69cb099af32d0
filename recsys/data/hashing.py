"""Fixed 64-bit hashes of ids and rows.

They give an order that depends neither on the spelling of ids nor on row numbers. They are the same
on every machine and in every version, because splits and lists on disk depend on them.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import polars as pl

__all__ = ["hash_ids", "hash_pairs", "mix", "tie_order"]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_TIE_SEED = 0x7165  # seed of the order of equal scores


def mix(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a hash of each integer, uint64 [n]: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    Args:
        values: integers of any width [n].
        seed: different seeds give independent hashes.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(values).astype(np.uint64) + _ODD * np.uint64((seed + 1) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_ids(ids: pl.Series, seed: int = 0) -> np.ndarray:
    """Return a hash of each external id, uint64 [n].

    The number 7 and the text "7" have the same hash.

    Args:
        ids: integers or text [n].
        seed: different seeds give independent hashes.
    """
    if ids.dtype.is_integer():
        return mix(ids.cast(pl.Int64).to_numpy(), seed)
    text = ids.cast(pl.String)
    unique = text.unique()
    numbers = unique.cast(pl.Int64, strict=False)
    is_number = (numbers.cast(pl.String) == unique).fill_null(value=False)
    codes = [
        number if numeric else _text_code(each)
        for each, number, numeric in zip(unique, numbers, is_number, strict=True)
    ]
    table = pl.DataFrame({"id": unique, "code": pl.Series(codes, dtype=pl.Int64)})
    joined = text.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return mix(joined["code"].to_numpy(), seed)


def _text_code(text: str) -> int:
    """Return a signed 64-bit BLAKE2b hash of a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def hash_pairs(users: np.ndarray, items: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a hash of each pair, uint64 [n].

    Args:
        users, items: a hash or a number of the user and the item of each pair [n].
        seed: different seeds give independent hashes.
    """
    return mix(mix(users, seed) ^ mix(items, seed + 1), seed + 2)


@functools.lru_cache(maxsize=8)
def tie_order(n_items: int) -> np.ndarray:
    """Return the rank of each item among items of equal score, int64 [n_items], read-only.

    The rank follows a seeded hash of the item row, so ties favour neither the first nor the oldest
    items of the catalogue. The order of two items does not depend on the number of items.
    """
    order = np.argsort(mix(np.arange(n_items), _TIE_SEED), kind="stable")
    rank = np.empty(n_items, dtype=np.int64)
    rank[order] = np.arange(n_items)
    rank.flags.writeable = False
    return rank
