"""Whole baskets are held out: what is bought together with this item?

A question is an item that occurs in a held-out basket together with another one. Its answers are
all items that share a held-out basket with it, as in the evaluation of complementary products
(Overstock, 2022). Units are items: intervals resample items. The pairs of a question may have been
bought together in train, too. Where the data has no sessions, each user is one basket.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from recsys.data.query import Queries
from recsys.data.splitting.by_session import SessionRows
from recsys.data.splitting.event_pairs import EventPairs
from recsys.data.splitting.paths import Timeline
from recsys.data.splitting.rules import TEST, TRAIN, VALID, time_points
from recsys.data.splitting.settings import SplitRule
from recsys.data.types import Dataset, HeldOut, Interactions, Sealed, Split
from recsys.errors import InputError

__all__ = ["by_basket"]

_NAMES = {VALID: "valid", TEST: "test"}
_WORDS = "an item asks for the items of its baskets"


def by_basket(data: Dataset, rule: SplitRule) -> Split:
    """Return the split that holds out baskets: at random, the latest, or from a point in time on.

    Args:
        data: the data; its log holds every event.
        rule: reads `ratios` and `order`, or `valid_from` and `test_from`; `seed`, `drop_cold` and
            `drop_new_items`.

    Raises:
        InputError: the log is not kept; `order = "time"` or points in time without times; a basket
            with two users; train is empty.
    """
    _need_every_event(data)
    timeline = Timeline.of(data, rule.seed)
    baskets = SessionRows.of(data, timeline)
    part_of_basket, words = _parts(data, baskets, rule)
    part = part_of_basket[baskets.row]
    pairs = EventPairs(data, timeline.counts, timeline.rank)
    train = pairs.of(pairs.counts & (part == TRAIN))
    if not len(train):
        raise InputError(
            "the rule leaves no train row",
            place="[split]",
            remedy="give train a larger share, or move the points in time",
        )
    asking = _Asking(data, baskets, part, rule, train.item_counts() > 0)
    held = {number: asking.held_out(number, pairs) for number in (VALID, TEST)}
    words = "; ".join([words, *asking.notes])
    train_log = valid_log = None
    if data.log is not data.pairs:
        train_log, valid_log = data.log.take(part == TRAIN), data.log.take(part == VALID)
    sizes = " / ".join("-" if each is None else str(len(each)) for each in (train, *held.values()))
    dataset = data.with_pairs(train, f"{words}: {sizes}", log=train_log)
    test = held[TEST]
    return Split(dataset, held[VALID], None if test is None else Sealed(test), words, valid_log)


def _need_every_event(data: Dataset) -> None:
    """Raise an error if baskets would lack what their user bought before."""
    of_users = data.pairs.session is None or np.array_equal(data.pairs.session, data.pairs.user)
    if data.events is None and not of_users:
        raise InputError(
            "by = 'basket' needs every event: the pairs leave out what a user bought before",
            place="[split]",
            remedy="set keep_log = true in [data]",
        )


def _parts(data: Dataset, baskets: SessionRows, rule: SplitRule) -> tuple[np.ndarray, str]:
    """Return the part of each basket, int8 [k], and the rule in words."""
    part = np.full(len(baskets.ids), TRAIN, dtype=np.int8)
    time = data.log.time
    if rule.test_from is not None:
        counted = data.log.take(baskets.timeline.counts)
        points = time_points(counted, rule.valid_from, rule.test_from, rule.by)
        end = np.full(len(part), np.iinfo(np.int64).min, dtype=np.int64)
        assert time is not None
        np.maximum.at(end, baskets.row, time)
        part[end >= points[0]] = VALID
        part[end >= points[1]] = TEST
        since = f"test from {rule.test_from}"
        if rule.valid_from is not None:
            since += f", valid from {rule.valid_from}"
        return part, f"baskets in time, {since}; {_WORDS}"
    order = baskets.in_order
    how = "random" if rule.order == "random" else "in time order"
    if rule.order == "random":
        order = np.random.default_rng(rule.seed).permutation(order)
        how += f" with seed {rule.seed}"
    elif time is None:
        raise InputError(
            "order = 'time' needs times, which the data lacks",
            place="[split]",
            remedy='name the column in [data]: time = "..."; or leave out order',
        )
    n_valid, n_test = (int(share * len(order) + 1e-9) for share in rule.ratios[1:])
    part[order[len(order) - n_test - n_valid :]] = VALID
    part[order[len(order) - n_test :]] = TEST
    shares = "/".join(f"{share:g}" for share in rule.ratios)
    return part, f"ratio {shares} of baskets, {how}; {_WORDS}"


@dataclass(eq=False)
class _Asking:
    """Questions about the items of held-out baskets.

    Args:
        data: the data.
        baskets: the basket of each event.
        part: of each event, int8 [n].
        rule: reads `drop_cold` and `drop_new_items`.
        known: items with a row in train, bool [n_items].
    """

    data: Dataset
    baskets: SessionRows
    part: np.ndarray
    rule: SplitRule
    known: np.ndarray

    def __post_init__(self) -> None:
        self.notes: list[str] = []

    def held_out(self, number: int, pairs: EventPairs) -> HeldOut | None:
        """Return valid or test; None without a question."""
        rows = np.flatnonzero(pairs.counts & (self.part == number))
        log = self.data.log
        together = _together(log, self.baskets.row, rows, len(self.baskets.ids))
        together = self._without_unknown(together, number)
        items = np.flatnonzero(np.diff(together.indptr))
        if not len(items):
            return None
        queries = replace(Queries.of_items(items), ids=self.data.items.ids.gather(items))
        own = pairs.of(pairs.counts & (self.part == number))
        return HeldOut(own, queries, items, together[items], "item", rule=_WORDS)

    def _without_unknown(self, together: sp.csr_matrix, number: int) -> sp.csr_matrix:
        """Leave out questions about items that train lacks, and such answers, as the rule says."""
        asked = np.diff(together.indptr) > 0
        strange = int((asked & ~self.known).sum())
        if strange and self.rule.drop_cold:
            self.notes.append(f"{strange} {_NAMES[number]} items without train rows not asked")
            together = sp.diags(self.known.astype(np.float32)) @ together
        if self.rule.drop_new_items:
            together = together @ sp.diags(self.known.astype(np.float32))
        together = sp.csr_matrix(together, dtype=np.float32)
        together.eliminate_zeros()
        together.sort_indices()
        return together


def _together(log: Interactions, basket: np.ndarray, rows: np.ndarray, n: int) -> sp.csr_matrix:
    """Return which different items share a basket, CSR float32 [n_items, n_items], binary.

    Args:
        log: the events.
        basket: of each event [m].
        rows: the events that count.
        n: number of baskets.
    """
    cells = (np.ones(len(rows), dtype=np.float32), (basket[rows], log.item[rows]))
    holds = sp.csr_matrix(cells, shape=(n, log.n_items))
    holds.sum_duplicates()
    holds.data[:] = 1.0
    together = (holds.T @ holds).tocoo()
    kept = together.row != together.col
    shape = (log.n_items, log.n_items)
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    return sp.csr_matrix((ones, (together.row[kept], together.col[kept])), shape=shape)
