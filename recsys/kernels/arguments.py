"""What the compiled kernels are called with: tuples of arrays and numbers, which numba can read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Candidates", "Cell", "Rules", "Scratch", "Tables"]

BPR, BCE, HINGE, CCL, SQUARE, SOFTMAX = range(6)
FREE, BALL, SPHERE = range(3)
NO_BAND, EACH_PAIR, MEAN_OF_PAIRS = range(3)


class Tables(NamedTuple):
    """What training changes.

    Args:
        user: vectors of the users, float32 [n_users, C, d].
        item: float32 [n_items, 1, d].
        user_second, item_second: sums of squared gradients of Adagrad, in the shape of the tables;
            None for SGD.
        vectors: number of vectors of each user, int64 [n_users]; None: 1.
    """

    user: np.ndarray
    item: np.ndarray
    user_second: np.ndarray | None
    item_second: np.ndarray | None
    vectors: np.ndarray | None


class Candidates(NamedTuple):
    """How the candidates of a pair are drawn.

    Args:
        indptr, indices: observed items of each user, ascending, int64 [n_users + 1] and int32 [n].
        words, sieve: sieve of each user's items, int64 [n_users + 1] and uint64: the bits at
            `place_in_sieve` of the items, in a power of two of words.
        log_q: log proposal of each item, float32 [n_items], or [0] without a correction.
        key: of the random numbers of the epoch.
        number: candidates of a pair.
        rounds: draws of a candidate after the first one, while it is an observed item; -1: observed
            items are kept.
    """

    indptr: np.ndarray
    indices: np.ndarray
    words: np.ndarray
    sieve: np.ndarray
    log_q: np.ndarray
    key: np.uint64
    number: int
    rounds: int


class Cell(NamedTuple):
    """The pairs of one block of users with one block of items.

    Args:
        row: place of each pair in the training interactions, int32 [n].
        user, item: their rows, int32 [n].
        pool: items of the block that may be drawn, int32 [m].
        share, alias: alias table of the pool, float64 [m] and int32 [m]; [0] if it is uniform.
    """

    row: np.ndarray
    user: np.ndarray
    item: np.ndarray
    pool: np.ndarray
    share: np.ndarray
    alias: np.ndarray


class Scratch(NamedTuple):
    """Space for one pair with K candidates.

    Args:
        items: rows of the positive and of its candidates, int64 [1 + K].
        winners: vector of the user that each is compared with, int64 [1 + K].
        scores: their scores, float32 [1 + K].
        slopes: derivatives of the loss by the scores, float64 [1 + K].
        grad: gradient of the user's vectors, float32 [C, d].
        moved: gradient of an item's vector, float32 [1, d].
    """

    items: np.ndarray
    winners: np.ndarray
    scores: np.ndarray
    slopes: np.ndarray
    grad: np.ndarray
    moved: np.ndarray


class Rules(NamedTuple):
    """Loss and update of a pair.

    Args:
        kind: of the loss, a constant of this module, and its `margin`, `temperature`, `weight`.
        keep: number of the hardest candidates that count.
        warp: whether the estimated rank weights the loss.
        euclidean: True for a negated squared distance; None for an inner product. Numba compiles a
            test of None away, and the two loops are faster apart.
        lr, eps: learning rate, and what Adagrad adds to a root.
        l2: weight of half the squared norms of the rows that move.
        user_space, item_space, radius: where the vectors are kept.
        band: diversity of the vectors of a user, a constant of this module, with its weight and
            the rest of its settings.
    """

    kind: int
    keep: int
    warp: bool
    margin: float
    temperature: float
    weight: float
    euclidean: bool | None
    lr: float
    eps: float
    l2: float
    user_space: int
    item_space: int
    radius: float
    band: int
    band_weight: float
    low: float
    high: float
    below: bool
    above: bool
