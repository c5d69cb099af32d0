"""Windows of histories: the events that a batch reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.data.histories import Histories

__all__ = ["cut"]


def cut(histories: Histories, length: int, *, every: bool) -> tuple[Histories, np.ndarray]:
    """Return windows of at most `length` targets.

    The targets of a window are its events but the first. Histories with fewer than two events have
    no window.

    Args:
        histories: the histories.
        length: maximum number of targets of a window, at least 1.
        every: True: consecutive windows, the first of which may be shorter, hold each event but the
            first of a history once as a target; False: the last length + 1 events only.

    Returns:
        The windows, those of a history from its oldest to its newest, and the history of each,
        int64.
    """
    targets = np.maximum(histories.length - 1, 0)
    windows = -(-targets // length) if every else np.minimum(targets, 1)
    owner = np.repeat(np.arange(len(histories)), windows)
    # The windows of a history end `length` events apart, the last one at its end.
    after = np.repeat(np.cumsum(windows), windows) - np.arange(len(owner)) - 1
    end = histories.end[owner] - after * length
    begin = np.maximum(histories.begin[owner], end - length - 1)
    return replace(histories, begin=begin, end=end), owner
