"""Published numbers in a plan, which the tables show next to ours and never mix or test.

[[published]]
data = "steam"
source = "Bao et al., NeurIPS 2022, table 2"
protocol = "same"
scale = 100

[published.values]
dpcml = { "precision@3" = 29.9 }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from recsys.config import Bound, build, settings
from recsys.errors import InputError, suggest

__all__ = ["Published", "read_published"]


@settings
class _Block:
    """One block [[published]]: numbers of one source on one data set."""

    data: str
    """Name of a data set of the plan; of a sweep, the name with its value."""
    source: str
    """Paper and table."""
    protocol: Literal["same", "other"]
    """same: split, candidates and metrics are ours. other: something differs; `note` says what."""
    note: str = ""
    """What differs, or anything else a reader must know."""
    scale: Annotated[float, Bound(gt=0)] = 1.0
    """The printed numbers are the metrics times this; 100 for percent."""


@dataclass(frozen=True)
class Published:
    """Numbers of one source on one data set.

    Args:
        source: paper and table.
        protocol: "same" or "other".
        note: what differs; empty where nothing does.
        values: by method and metric, as fractions where ours are.
    """

    source: str
    protocol: str
    note: str
    values: Mapping[tuple[str, str], float]

    @property
    def caption(self) -> str:
        """Source and protocol in words."""
        note = f": {self.note}" if self.note else ""
        return f"{self.source} ({self.protocol} protocol{note})"


def read_published(
    blocks: Any, metrics: Mapping[str, Sequence[str]], methods: Sequence[str], place: str
) -> dict[str, tuple[Published, ...]]:
    """Read the blocks [[published]] of a plan; a single [published] is one block.

    Args:
        blocks: as TOML gives them.
        metrics: metrics that are measured, by data set.
        methods: names of the methods of the plan.
        place: of the plan.

    Returns:
        The sources by data set, in the order of the file.

    Raises:
        InputError: an unknown data set, method or metric, a value that is not a number, an
            unknown key, or protocol = "other" without a note.
    """
    place = f"{place}: [published]"
    if isinstance(blocks, Mapping):
        blocks = [blocks]
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise InputError(
            "published must be tables", place=place, remedy="write [[published]] for each source"
        )
    sources: dict[str, tuple[Published, ...]] = {}
    for table in blocks:
        block = build(
            _Block, {key: value for key, value in table.items() if key != "values"}, place
        )
        if block.data not in metrics:
            raise InputError(
                f"'{block.data}' is not a data set of the plan",
                place=place,
                remedy=suggest(block.data, metrics),
            )
        if block.protocol == "other" and not block.note:
            raise InputError(
                'protocol = "other" needs a note',
                place=place,
                remedy='say what differs, for example note = "valid items are masked"',
            )
        values = _values(table.get("values"), block, metrics[block.data], methods, place)
        source = Published(block.source, block.protocol, block.note, values)
        sources[block.data] = (*sources.get(block.data, ()), source)
    return sources


def _values(
    tables: Any, block: _Block, metrics: Sequence[str], methods: Sequence[str], place: str
) -> dict[tuple[str, str], float]:
    if not isinstance(tables, Mapping) or not tables:
        raise InputError(
            f"the numbers of '{block.source}' are missing",
            place=place,
            remedy='write [published.values] and below it METHOD = { "ndcg@20" = 0.1 }',
        )
    values: dict[tuple[str, str], float] = {}
    for method, row in tables.items():
        if method not in methods:
            raise InputError(
                f"'{method}' is not a method of the plan",
                place=place,
                remedy=suggest(method, methods),
            )
        if not isinstance(row, Mapping):
            raise InputError(
                f"'{method}' must be a table of metrics",
                place=place,
                remedy=f'write {method} = {{ "ndcg@20" = 0.1 }}',
            )
        for metric, value in row.items():
            if metric not in metrics:
                raise InputError(
                    f"'{metric}' is not measured on {block.data}",
                    place=f"{place} {method}",
                    remedy=suggest(metric, metrics),
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(
                    f"{metric} must be a number, got {value!r}",
                    place=f"{place} {method}",
                    remedy="write a number",
                )
            values[method, metric] = value / block.scale
    return values
