"""Logs of drawn histories, and whether two packed batches are equal."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from recsys.data.types import Interactions
from recsys.sampling import SequenceBatch

lists = st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=1, max_size=9)


def log_of(histories: list[list[int]], n_items: int = 9) -> Interactions:
    """Return a log whose rows are shuffled, so that only its times give the order."""
    user = np.repeat(np.arange(len(histories)), [len(each) for each in histories])
    item = np.array([item for each in histories for item in each], dtype=int)
    time = np.array([step for each in histories for step in range(len(each))], dtype=int)
    order = np.random.default_rng(0).permutation(len(user))
    return Interactions(user, item, len(histories), n_items, time=time).take(order)


def same(a: SequenceBatch, b: SequenceBatch) -> bool:
    def equal(x: torch.Tensor | None, y: torch.Tensor | None) -> bool:
        return (x is None) == (y is None) and (x is None or torch.equal(x, y))

    q = (a.log_q is None) == (b.log_q is None) and (
        a.log_q is None or all(map(equal, a.log_q, b.log_q))
    )
    names = ("owner", "item", "target", "neg", "mask", "at", "time", "next_time")
    return (
        q
        and all(equal(getattr(a, name), getattr(b, name)) for name in names)
        and (a.groups, a.epoch, a.step) == (b.groups, b.epoch, b.step)
    )
