"""Points in time, the same for all users: what comes later is asked for, with what came before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.splitting.asking import OUT, Asked, require_times
from recsys.data.splitting.paths import Paths, Timeline
from recsys.data.splitting.questions import Form, Questions, one_for_all
from recsys.data.splitting.rules import TEST, TRAIN, VALID, time_points
from recsys.data.splitting.settings import SplitRule
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError

__all__ = ["global_time"]


@dataclass(frozen=True)
class _Cuts:
    """Points in time, in the unit of the log.

    Args:
        valid, test: start of each; equal without valid.
        end: end of test.
        words: the points.
    """

    valid: int
    test: int
    end: int
    words: str


def global_time(data: Dataset, rule: SplitRule) -> Asked:
    """Ask for what users did from a point in time on.

    Train ends before valid begins. With targets "next" a question is the first event of a user in
    valid or test, with all that the user did before it; with "all-later" it is all events of the
    user in valid or test, with what came before the part begins.

    Args:
        data: the data.
        rule: reads `valid_from`, `test_from`, `targets`, `windows` and `window`.

    Raises:
        InputError: no times, points that cannot be read or are in the wrong order, or no event to
            ask for.
    """
    time = require_times(data.log, "by = 'global-time'")
    timeline = Timeline.of(data, rule.seed)
    counted = data.log.take(timeline.counts)
    cuts = _windows(counted, rule) if rule.windows else _points(counted, rule)
    paths = timeline.paths(data.log.user, data.n_users)
    part = np.full(len(time), OUT, dtype=np.int8)
    part[time < cuts.end] = TEST
    part[time < cuts.test] = VALID
    part[time < cuts.valid] = TRAIN
    valid, test, end = (
        paths.first_where(time[paths.row] >= point) for point in (cuts.valid, cuts.test, cuts.end)
    )
    what = "next item" if rule.targets == "next" else "all later items"
    own = rule.valid_from, rule.test_from
    return Asked(
        part,
        paths,
        {VALID: _ask(paths, valid, test, rule), TEST: _ask(paths, test, end, rule)},
        {VALID: _form(rule, cuts.valid), TEST: _form(rule, cuts.test)},
        f"{what} in time, {cuts.words}",
        sizes=(None, None, None) if rule.windows else sizes_in_time(len(counted), *own),
        remedy="name valid_from and test_from as dates",
    )


def sizes_in_time(
    n: int, valid_from: object, test_from: object
) -> tuple[float | None, float | None, float | None]:
    """Return the rows that train, valid and test should have; None where a date leaves it open.

    Args:
        n: number of rows.
        valid_from, test_from: as in [split].
    """
    if not isinstance(test_from, float):
        return None, None, None
    after = (1 - test_from) * n
    if valid_from is None:
        return test_from * n, 0.0, after
    if not isinstance(valid_from, float):
        return None, None, after
    return valid_from * n, (test_from - valid_from) * n, after


def _ask(paths: Paths, first: np.ndarray, last: np.ndarray, rule: SplitRule) -> Questions:
    """Return the questions of one part, as the rule asks them."""
    return one_for_all(
        paths, first, np.minimum(first + 1, last) if rule.targets == "next" else last
    )


def _form(rule: SplitRule, cut: int) -> Form:
    """Return what is known of the questions of a part that begins at a point in time."""
    if rule.targets == "next":
        return Form("the first event of a user after a point in time, after all before it")
    return Form("all events of a user after a point in time, asked there", now=cut)


def _points(events: Interactions, rule: SplitRule) -> _Cuts:
    """Return the points that the rule names."""
    valid, test = time_points(events, rule.valid_from, rule.test_from, rule.by)
    words = f"test from {rule.test_from}"
    if rule.valid_from is not None:
        words += f", valid from {rule.valid_from}"
    return _Cuts(valid, test, _end(events), words)


def _windows(events: Interactions, rule: SplitRule) -> _Cuts:
    """Return the points of one window; valid is the window before it.

    Raises:
        InputError: the window is empty.
    """
    assert rule.windows is not None
    start, _ = time_points(events, None, rule.test_from, rule.by)
    end = _end(events)
    if end - start < rule.windows:
        raise InputError(
            f"{rule.windows} windows do not fit into the {end - start} ticks from test_from "
            f"{rule.test_from} on",
            place="[split] windows",
            remedy="make fewer windows, or begin earlier",
        )
    edges = [start + (end - start) * number // rule.windows for number in range(rule.windows + 1)]
    first, last = edges[rule.window - 1], edges[rule.window]
    assert events.time is not None
    if not ((events.time >= first) & (events.time < last)).any():
        raise InputError(
            f"window {rule.window} of {rule.windows} holds no event",
            place="[split] window",
            remedy="make fewer windows, or begin later",
        )
    before = edges[rule.window - 2] if rule.window > 1 else first - (last - first)
    words = f"window {rule.window} of {rule.windows} from {rule.test_from} on, the one before valid"
    return _Cuts(before, first, last, words)


def _end(events: Interactions) -> int:
    """Return the first moment after all events."""
    assert events.time is not None
    return int(events.time.max()) + 1
