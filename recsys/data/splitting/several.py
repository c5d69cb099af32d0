"""All splits of a rule that makes several: folds, or windows in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from recsys.data.load import LoadedData
from recsys.data.splitting.settings import SplitRule
from recsys.data.splitting.splits import split
from recsys.data.types import Dataset, Split

__all__ = ["each_rule", "each_split"]


def each_rule(rule: SplitRule) -> tuple[SplitRule, ...]:
    """Return the rule of every split: one per fold or window; the rule itself if it makes one."""
    if rule.folds is not None:
        return tuple(replace(rule, fold=number + 1) for number in range(rule.folds))
    if rule.windows is not None:
        return tuple(replace(rule, window=number + 1) for number in range(rule.windows))
    return (rule,)


def each_split(data: LoadedData | Dataset, rule: SplitRule) -> Iterator[Split]:
    """Yield every split of a rule, one after the other.

    Folds hold out each row, or each user, once. Windows hold out each event from `test_from` on
    once.

    Args:
        data: as for `split`.
        rule: the settings; `fold` and `window` are not read.

    Raises:
        InputError: as `split`.
    """
    for one in each_rule(rule):
        yield split(data, one)
