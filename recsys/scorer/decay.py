"""How much an item counts by its place in a history or by its distance to another item."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

__all__ = ["Decay", "by_distance", "by_place"]

Decay: TypeAlias = Literal["div", "same", "linear", "quadratic", "log"]


def by_distance(decay: Decay, distance: np.ndarray) -> np.ndarray:
    """Return the weight of a distance d, float64 [n].

    div: 1 / d. same: 1. linear: 1 - 0.1 d, at least 0. quadratic: 1 / d^2. log: 1 / log10(d + 1.7).

    Args:
        decay: one of the five words.
        distance: number of steps from one item to the other, at least 1, integers [n].
    """
    d = np.asarray(distance, dtype=np.float64)
    if decay == "div":
        return 1 / d
    if decay == "quadratic":
        return 1 / d**2
    return _by_steps(decay, d)


def by_place(decay: Decay, place: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the weight of place p in a history of l items, float64 [n].

    div: p / l. same: 1. linear: 1 - 0.1 (l - p), at least 0. quadratic: (p / l)^2. log:
    1 / log10(l - p + 1.7).

    Args:
        decay: one of the five words.
        place: places from 1, the oldest, to l, the newest, integers [n].
        length: number of items of the history of each place, integers [n].
    """
    share = place / length
    if decay == "div":
        return np.asarray(share)
    if decay == "quadratic":
        return np.asarray(share**2)
    return _by_steps(decay, (length - place).astype(np.float64))


def _by_steps(decay: Decay, steps: np.ndarray) -> np.ndarray:
    """Return the weights that depend on a number of steps alone, float64 [n]."""
    if decay == "same":
        return np.ones(len(steps))
    if decay == "linear":
        return np.maximum(1 - 0.1 * steps, 0)
    return np.asarray(1 / np.log10(steps + 1.7))
