"""The last events of each training user, which answer the query of a user without a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.times import TICKS, Unit
from recsys.data.types import Interactions

__all__ = ["StoredHistories"]


@dataclass(frozen=True, eq=False)
class StoredHistories:
    """The last events of each user, as part of a scorer that reads histories.

    Args:
        histories: one history per user, of at most `length` events, one after the other in memory.
        length: number of last events of a history that count, stored or given.
    """

    histories: Histories
    length: int

    @classmethod
    def of(cls, log: Interactions, length: int, *, times: bool = True) -> StoredHistories:
        """Return the last `length` events of each user of a log, with their times if known.

        Args:
            log: the training events.
            length: number of events of a user, at most.
            times: False leaves the times out.
        """
        histories = log.histories.last(length).packed()
        return cls(histories if times else replace(histories, time=None), length)

    @property
    def n_users(self) -> int:
        return len(self.histories)

    def answering(self, queries: Queries) -> Histories:
        """Return the history of each query: the given one, otherwise that of its user.

        Both are cut to their last `length` events, so equal histories give equal scores.

        Args:
            queries: n queries.
        """
        if queries.history is None:
            return self.histories.take(np.asarray(queries.user))
        return queries.history.last(self.length)

    def moments(self, queries: Queries) -> np.ndarray | None:
        """Return the moment of each query in seconds since 1970, float64 [n]; None without times.

        It is `queries.now`, otherwise the time of the last event of the history. Where there is no
        event, it is 0.

        Args:
            queries: n queries; `now` of queries without histories is in the unit of training.
        """
        histories = self.answering(queries)
        ticks = TICKS[histories.time_unit]
        if queries.now is not None:
            return np.asarray(queries.now / ticks)
        if histories.time is None:
            return None
        moment = np.zeros(len(histories))
        has_events = histories.end > histories.begin
        moment[has_events] = histories.time[histories.end[has_events] - 1] / ticks
        return moment

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata, from which `restore` builds equal histories."""
        histories = self.histories
        tensors = {
            "item": torch.from_numpy(np.array(histories.item)),
            "end": torch.from_numpy(np.array(histories.end)),
        }
        if histories.time is not None:
            tensors["time"] = torch.from_numpy(np.array(histories.time))
        meta = {"length": self.length, "time_unit": histories.time_unit}
        return tensors, meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> StoredHistories:
        """Return the histories that `state` described."""
        end = tensors["end"].numpy()
        begin = np.append(0, end)[:-1]
        time = tensors["time"].numpy() if "time" in tensors else None
        unit = cast(Unit, str(meta["time_unit"]))
        histories = Histories(tensors["item"].numpy(), begin, end, time, unit)
        return cls(histories, int(meta["length"]))
