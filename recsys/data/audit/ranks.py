"""Rank correlations, and what remains of them when a third quantity is known."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

__all__ = ["GivenRanks", "correlations", "scaled_ranks"]

_ROUNDING = 1e-6  # residual, relative to the largest possible, that counts as 0


class GivenRanks:
    """Partial rank correlations, given the ranks of a third quantity.

    Ranks are freed by least squares of a cubic in the ranks of the given quantity; the residuals
    are correlated.

    Args:
        given: the third quantity, [n].
    """

    def __init__(self, given: np.ndarray) -> None:
        ranks = scaled_ranks(given[:, None].astype(float))[:, 0]
        self.basis, _ = np.linalg.qr(np.vander(ranks, 4))  # orthonormal, [n, 4]

    def residuals(self, columns: np.ndarray) -> np.ndarray:
        """Return what the given quantity does not explain of the ranks of columns.

        Args:
            columns: [n, d].

        Returns:
            Residuals of length 1, [n, d]; zeros if nothing remains.
        """
        ranks = scaled_ranks(columns)
        rest = ranks - self.basis @ (self.basis.T @ ranks)
        length = np.linalg.norm(rest, axis=0)
        # If the given quantity explains a column, only rounding remains of it.
        remains = length > _ROUNDING * np.sqrt(len(rest))
        return np.where(remains, rest / np.maximum(length, 1e-12), 0.0)

    def residual(self, column: np.ndarray) -> np.ndarray:
        """Return the residual of one column, [n]."""
        return self.residuals(column[:, None].astype(float))[:, 0]

    def correlations(self, columns: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the partial rank correlation of each column with a target, [d].

        Args:
            columns: float [n, d].
            target: [n].
        """
        return self.residual(target) @ self.residuals(columns)


def scaled_ranks(columns: np.ndarray) -> np.ndarray:
    """Return the ranks of each column, scaled to -1..1, [n, d]; equal values share one."""
    ranks = scipy.stats.rankdata(columns, axis=0)
    return 2.0 * (ranks - 1) / max(len(columns) - 1, 1) - 1.0


def correlations(ranks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the correlation of each column with a target, [d].

    Args:
        ranks: [n, d].
        target: [n].
    """
    centred = ranks - ranks.mean(axis=0)
    centred_target = target - target.mean()
    lengths = np.linalg.norm(centred, axis=0) * np.linalg.norm(centred_target)
    return centred_target @ centred / np.maximum(lengths, 1e-12)
