"""Conjugate gradient steps of alternating least squares, compiled by numba.

`recsys.scorer.als_steps` imports this module where numba is installed, and describes the method. A
row is solved alone: its factors stay in the cache of the processor during all steps, and the result
does not depend on the other rows or on the number of threads. No loop both stores and sums: the
compiler would guard it by a comparison of addresses, and the order of the sum would depend on them.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["descend"]


# Sums may be reordered, which lets them use wide registers; infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def _image_of(
    scaled: np.ndarray, length: int, direction: np.ndarray, image: np.ndarray
) -> np.float32:
    """Fill in (I + F^T F) p, and return p^T (I + F^T F) p.

    Args:
        scaled: F, float32 [L or more, d].
        length: L.
        direction: p, float32 [d].
        image: filled in, float32 [d].
    """
    dim = len(direction)
    zero = np.float32(0)
    curvature = zero
    for k in range(dim):
        image[k] = direction[k]
    for k in range(dim):
        curvature += direction[k] * direction[k]
    j = 0
    # Four members at a time: each element of `direction` and `image` is read once for them.
    while j + 4 <= length:
        h0 = scaled[j]
        h1 = scaled[j + 1]
        h2 = scaled[j + 2]
        h3 = scaled[j + 3]
        s0 = zero
        s1 = zero
        s2 = zero
        s3 = zero
        for k in range(dim):
            along = direction[k]
            s0 += h0[k] * along
            s1 += h1[k] * along
            s2 += h2[k] * along
            s3 += h3[k] * along
        curvature += s0 * s0 + s1 * s1 + s2 * s2 + s3 * s3
        for k in range(dim):
            image[k] += s0 * h0[k] + s1 * h1[k] + s2 * h2[k] + s3 * h3[k]
        j += 4
    while j < length:
        own = scaled[j]
        score = zero
        for k in range(dim):
            score += own[k] * direction[k]
        curvature += score * score
        for k in range(dim):
            image[k] += score * own[k]
        j += 1
    return curvature


_image = numba.njit(_image_of, nogil=True, cache=True, fastmath=_FAST)


def _descend(
    indptr: np.ndarray,
    indices: np.ndarray,
    turned: np.ndarray,
    floor: np.ndarray,
    strength: np.ndarray,
    start: np.ndarray,
    solved: np.ndarray,
    first: int,
    last: int,
    steps: int,
    tolerance: float,
) -> None:
    """Fill in the vectors of rows first..last - 1, in the basis of the eigenvectors.

    Args:
        indptr, indices: pattern of the interactions, int64 [n + 1] and int32.
        turned: vectors of the fixed side in the basis, float32 [m, d].
        floor: a0 e, float32 [d].
        strength: r of each row, float32 [n].
        start: where the steps of each row begin, float32 [n, d] in the basis.
        solved: filled in; rows without interactions are left as they are.
        first, last: the rows.
        steps: largest number of steps.
        tolerance: a row ends when its squared residual is at most this share of the first one.
    """
    dim = turned.shape[1]
    zero, one = np.float32(0), np.float32(1)
    root = np.empty(dim, np.float32)
    x = np.empty(dim, np.float32)
    residual = np.empty(dim, np.float32)
    direction = np.empty(dim, np.float32)
    image = np.empty(dim, np.float32)
    longest = 0
    for row in range(first, last):
        longest = max(longest, indptr[row + 1] - indptr[row])
    scaled = np.empty((longest, dim), np.float32)
    for row in range(first, last):
        begin = indptr[row]
        length = indptr[row + 1] - begin
        if length == 0:
            continue
        for k in range(dim):
            root[k] = one / math.sqrt(floor[k] + strength[row])
            x[k] = start[row, k] / root[k]
            residual[k] = -x[k]
        for j in range(length):
            source = turned[indices[begin + j]]
            own = scaled[j]
            for k in range(dim):
                own[k] = source[k] * root[k]
            score = zero
            for k in range(dim):
                score += own[k] * x[k]
            score = one - score
            for k in range(dim):
                residual[k] += score * own[k]
        square = zero
        for k in range(dim):
            direction[k] = residual[k]
        for k in range(dim):
            square += residual[k] * residual[k]
        least = tolerance * square
        for _ in range(steps):
            curvature = _image(scaled, length, direction, image)
            if curvature <= zero:
                break
            rate = square / curvature
            later = zero
            for k in range(dim):
                x[k] += rate * direction[k]
                residual[k] -= rate * image[k]
            for k in range(dim):
                later += residual[k] * residual[k]
            if later <= least:
                break
            turn = later / square
            square = later
            for k in range(dim):
                direction[k] = residual[k] + turn * direction[k]
        for k in range(dim):
            solved[row, k] = x[k] * root[k]


descend = numba.njit(_descend, nogil=True, cache=True, fastmath=_FAST)
