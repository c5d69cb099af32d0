"""How sessions are compared, and how the items of a similar session count."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from recsys.config import Bound, settings
from recsys.scorer.decay import Decay, by_distance, by_place

__all__ = ["SessionSimilarity"]

_DAY = 86_400.0
_FLOOR = -30.0  # lowest exponent of the recency of the newest candidate of a query


@settings
class SessionSimilarity:
    """Choose how sessions are compared and how the items of a neighbour count."""

    kind: Literal["cosine", "position", "stan"] = "position"
    """cosine: SKNN, the cosine of two sets of items. position: VSKNN, late items of the query count
    more. stan: STAN, in which old sessions and distant items also count less."""
    weighting: Decay = "div"
    """position: weight of place p of l in the query; div is p / l."""
    fading: Decay = "div"
    """position: weight of a neighbour by the number of steps from the end of the query to the last
    item that both share, 1 for the last item; div is 1 / steps."""
    idf: Annotated[float, Bound(ge=0)] = 0.0
    """position: an item counts 1 + idf log(sessions / sessions with the item)."""
    l1: Annotated[float, Bound(gt=0)] | None = 1.02
    """stan: place p of l in the query counts exp((p - l) / l1); none: all places count equally."""
    l2: Annotated[float, Bound(gt=0)] | None = 5.0
    """stan: a session that ended `age` days ago counts exp(-age / l2); none: age does not count.
    Needs times."""
    l3: Annotated[float, Bound(gt=0)] | None = 2.05
    """stan: an item of a neighbour counts exp(-distance / l3), its distance from the last item of
    the neighbour that is in the query; none: all count equally."""

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        readers = {"position": ("weighting", "fading", "idf"), "stan": ("l1", "l2", "l3")}
        return {name for kind, names in readers.items() if kind != self.kind for name in names}

    @property
    def reads_time(self) -> bool:
        """Whether the age of a session counts."""
        return self.kind == "stan" and self.l2 is not None

    def item_weights(self, place: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Return the weights of the items of queries, float64 [e].

        Args:
            place: last place of each item, from 1, int64 [e].
            length: number of events of the query of each item, int64 [e].
        """
        if self.kind == "position":
            return by_place(self.weighting, place, length)
        if self.kind == "stan" and self.l1 is not None:
            return np.asarray(np.exp((place - length) / self.l1))
        return np.ones(len(place))

    def scale(self, weight: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
        """Return the divisor of each query, float64 [n].

        Args:
            weight: weights of the items of the queries, float64 [e].
            owner: position of the query of each item, int64 [e].
            n: number of queries.
        """
        if self.kind == "position":
            return np.maximum(np.bincount(owner, minlength=n), 1).astype(np.float64)
        norm = np.sqrt(np.bincount(owner, weights=weight**2, minlength=n))
        return np.where(norm > 0, norm, 1.0)

    def recency(self, end: np.ndarray, moment: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """Return the factor exp(-age / l2) of candidates, float64 [c].

        A session that ends after the moment has age 0. If even the newest candidate of a query is
        older than 30 l2, all its candidates count as that much younger. This changes no order, and
        keeps the scores above the smallest float32.

        Args:
            end: end of each candidate in seconds, float64 [c].
            moment: moment of the query of each candidate in seconds, float64 [c].
            newest: index of the newest candidate of the same query, int64 [c].
        """
        exponent = -np.maximum(moment - end, 0) / (_DAY * float(self.l2 or np.inf))
        return np.asarray(np.exp(exponent - np.minimum(exponent[newest] - _FLOOR, 0)))

    def step_weights(self, steps: np.ndarray) -> np.ndarray | float:
        """Return the weight of a neighbour by its last item that is in the query, float64 [e].

        Args:
            steps: steps from the end of the query to this item, from 1, int64 [e].
        """
        return by_distance(self.fading, steps) if self.kind == "position" else 1.0
