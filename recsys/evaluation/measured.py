"""The values of metrics while an evaluation collects them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys.errors import InputError
from recsys.evaluation.metrics import Metric
from recsys.evaluation.slices import HeldOut

__all__ = ["Measured"]


@dataclass(eq=False)
class Measured:
    """The values of metrics, collected while they are computed.

    Args:
        n_users: number U of test users.
        per_user: values per metric, float64 [U].
        whole: metrics with one number for all users.
        notes: what a reader should know about the numbers.
    """

    n_users: int
    per_user: dict[str, np.ndarray] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, metric: Metric, value: np.ndarray | float, part: HeldOut, least: int) -> None:
        """Store the value of a metric on some of the test users.

        Args:
            metric: the metric.
            value: one number, or values per user of the part, [U'].
            part: the users with their test items.
            least: fewest test items that a user must have to count.

        Raises:
            InputError: the function of the metric returned something else.
        """
        if metric.whole and np.ndim(value) == 0:
            self.whole[metric.name] = float(value)
            return
        if metric.whole or np.shape(value) != part.users.shape:
            expected = "one number" if metric.whole else f"a value for each of {len(part.users)}"
            raise InputError(
                f"metric '{metric.word}' must return {expected}{'' if metric.whole else ' users'}, "
                f"got an array of shape {np.shape(value)}",
                remedy="correct its function",
            )
        column = np.full(self.n_users, np.nan)
        column[part.index] = np.where(part.n_relevant < least, np.nan, value)
        self.per_user[metric.name] = column
