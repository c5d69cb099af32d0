"""Fixed 64-bit hashes of ids and rows, for an order that no spelling and no row number decides.

They are the same on every machine and in every version: they end up in splits and lists that are kept.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import polars as pl

__all__ = ["hash_ids", "hash_pairs", "mix", "tie_order"]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_TIE_SEED = 0x7165  # of the order of equal scores


def mix(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a hash of each whole number, uint64 [n]: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(values).astype(np.uint64) + _ODD * np.uint64((seed + 1) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_ids(ids: pl.Series, seed: int = 0) -> np.ndarray:
    """Return a hash of each outside id, uint64 [n]. The number 7 and the text "7" have the same."""
    if ids.dtype.is_integer():
        return mix(ids.cast(pl.Int64).to_numpy(), seed)
    text = ids.cast(pl.String)
    unique = text.unique()
    numbers = unique.cast(pl.Int64, strict=False)
    plain = (numbers.cast(pl.String) == unique).fill_null(value=False)
    codes = [
        number
        if same
        else int.from_bytes(
            hashlib.blake2b(each.encode(), digest_size=8).digest(), "little", signed=True
        )
        for each, number, same in zip(unique, numbers, plain, strict=True)
    ]
    table = pl.DataFrame({"id": unique, "code": pl.Series(codes, dtype=pl.Int64)})
    joined = text.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return mix(joined["code"].to_numpy(), seed)


def hash_pairs(users: np.ndarray, items: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a hash of each pair, uint64 [n], from a hash or number of its user and of its item [n]."""
    return mix(mix(users, seed) ^ mix(items, seed + 1), seed + 2)


@functools.lru_cache(maxsize=8)
def tie_order(n_items: int) -> np.ndarray:
    """Return the place of each item among items of equal score, int64 [n_items], read-only.

    A seeded hash of the item row decides, so neither the first nor the oldest items of the catalogue are
    favoured. The order of two items does not depend on how many others there are.
    """
    order = np.argsort(mix(np.arange(n_items), _TIE_SEED), kind="stable")
    place = np.empty(n_items, dtype=np.int64)
    place[order] = np.arange(n_items)
    place.flags.writeable = False
    return place
