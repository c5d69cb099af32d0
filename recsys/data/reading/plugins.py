"""Formats of other packages, found through the entry-point group `recsys.readers`.

The name of an entry point is the value of `format` in `[data]`. It points to a function

    def read(path: Path, source: Source) -> RawLog

that reads one file. Its result has one row per interaction, with the columns `user` and `item` and,
where the file has them, `time`, `weight`, `clean`, `behaviour` and `session`. Columns may have any
type; they are checked and converted like those of a data frame. For a source that is already split
it is called once for each part. A folder is passed as it is. `source` holds all settings of
`[data]`; the function may use any of them.

    [project.entry-points."recsys.readers"]
    clicks = "my_package.clicks:read"
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping

__all__ = ["GROUP", "reader_plugins"]

GROUP = "recsys.readers"


@functools.cache
def reader_plugins() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Return the entry points of readers by name.

    They are read once per process, because that takes milliseconds.
    """
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
