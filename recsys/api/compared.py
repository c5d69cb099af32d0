"""What `recsys.compare` takes: runs, their folders and reports, in a list or by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from recsys.errors import InputError
from recsys.evaluation import Report
from recsys.experiment import Run

__all__ = ["Comparable", "Row", "rows_of"]

Comparable: TypeAlias = Run | str | Path | Report


@dataclass(frozen=True, eq=False)
class Row:
    """A report or a run in a comparison.

    Args:
        name: name of the row; "" if the run's own name is used. Rows of one name are seeds.
        value: a run, its folder, a report, or the folder of a report.
    """

    name: str
    value: Comparable


def rows_of(runs: object) -> list[Row]:
    """Return everything that is compared.

    Args:
        runs: a list of runs or folders, or a mapping from names to runs, folders, reports or lists
            of these.

    Raises:
        InputError: another value; a report without a name; a name without a report.
    """
    if isinstance(runs, Run | Report | str | Path):
        raise InputError(
            f"one {type(runs).__name__} is given, not a list",
            place="compare",
            remedy="give several, as in compare([run1, run2])",
        )
    rows = []
    for name, value in _named(runs):
        seeds = value if isinstance(value, list | tuple) and name else [value]
        if not len(seeds):
            raise InputError(f"'{name}' has no report", remedy="leave it out, or run it")
        rows += [Row(name, _checked(name, seed)) for seed in seeds]
    return rows


def _named(runs: object) -> Iterable[tuple[str, object]]:
    if isinstance(runs, Mapping):
        return ((str(name), value) for name, value in runs.items())
    if isinstance(runs, Sequence | Iterable):
        return (("", value) for value in runs)
    raise InputError(
        f"expected a list or a mapping of runs, got {type(runs).__name__}",
        place="compare",
        remedy="give several runs, as in compare([run1, run2])",
    )


def _checked(name: str, value: object) -> Comparable:
    if not isinstance(value, Run | str | Path | Report):
        raise InputError(
            f"expected a run or a report, got {type(value).__name__}",
            place=f"compare: {name}" if name else "compare",
            remedy="give what recsys.execute or recsys.open_run returns, its folder, or a report",
        )
    if isinstance(value, Report) and not name:
        raise InputError(
            "a report has no name",
            place="compare",
            remedy='name each, as in compare({"mf": report1, "ease": report2})',
        )
    return value
