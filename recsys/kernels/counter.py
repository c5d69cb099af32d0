"""The compiler of the kernels, and random numbers that are a function of a key and a counter.

The n-th number of a key is the n-th output of SplitMix64 started at the key: a bijection of 64 bits
applied to key + n * golden. No state is kept, so any draw can be computed alone.

Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the
constants are those of Stafford's variant 13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

__all__ = ["compiled", "uniform"]

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    # Sums may be reordered, which lets them use wide registers; infinities and NaN keep their
    # meaning.
    "fastmath": {"reassoc", "contract", "nsz"},
    "error_model": "numpy",
    # No counts of references to arrays, which would take longer than the arithmetic. So no array
    # may be created inside.
    "_nrt": False,
}

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_UNIT = 2.0**-53


def compiled(function: Function) -> Function:
    """Return the function compiled by numba; it may create no array.

    Numba keeps the result in a cache on the disk until the file of the function changes. After a
    change of a function in another file that it calls, delete `recsys/kernels/__pycache__`.
    """
    result: Function = numba.njit(**_OPTIONS)(function)
    return result


@compiled
def uniform(key: np.uint64, counter: np.uint64) -> float:
    """Return number `counter` of the key, uniform in [0, 1), a multiple of 2^-53."""
    z = key + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * _UNIT
