"""Splitters of other packages, found through the entry-point group `recsys.splitters`.

An entry point names a function: `weekly = "my_package.splits:weekly"` makes `[split] by = "weekly"`
call `weekly(data, seed)`. A name that recsys uses itself keeps the meaning that it has in recsys.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recsys import plugins
from recsys.data.types import Dataset
from recsys.errors import InputError

__all__ = ["Splitter", "parts_by", "splitter", "splitter_names"]

GROUP = "splitters"  # of `recsys.plugins`
_REMEDY = "correct the splitter's package, or choose another rule"


class Splitter(Protocol):
    """A function that decides the part of each interaction of one log."""

    def __call__(self, data: Dataset, seed: int) -> np.ndarray:
        """Return the part of each row of `data.pairs`.

        Args:
            data: the whole log, with the vocabularies and the item features; must not be changed.
            seed: `[split] seed`, for a splitter that draws at random.

        Returns:
            0 train, 1 valid, 2 test; integers [n], n = len(data.pairs).
        """


def splitter_names() -> list[str]:
    """Return the names of all splitters of other packages, without importing any."""
    return plugins.names(GROUP)


def splitter(name: str) -> Splitter:
    """Import a splitter of another package.

    Raises:
        InputError: an unknown name, or a splitter that cannot be imported or called.
    """
    function: Splitter = plugins.load(GROUP, name)
    if not callable(function):
        raise InputError(
            f"splitter '{name}' must be a function of (data, seed), got {type(function).__name__}",
            place=plugins.module_of(GROUP, name),
            remedy=_REMEDY,
        )
    return function


def parts_by(name: str, data: Dataset, seed: int) -> np.ndarray:
    """Return the parts that a splitter of another package decides, after checking them.

    Args:
        name: of the splitter.
        data: the whole log, n interactions.
        seed: `[split] seed`.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: as `splitter`; the result has another shape, or other values than 0, 1 and 2.
    """
    part = np.asarray(splitter(name)(data, seed))
    place = f"[split] by = '{name}'"
    if part.shape != (len(data.pairs),) or part.dtype.kind not in "iu":
        raise InputError(
            f"the splitter must return {len(data.pairs)} integers, one per interaction, "
            f"got {part.dtype} {list(part.shape)}",
            place=place,
            remedy=_REMEDY,
        )
    wrong = part[(part < 0) | (part > 2)]
    if len(wrong):
        raise InputError(
            f"the splitter must return 0 (train), 1 (valid) or 2 (test), got {int(wrong[0])}",
            place=place,
            remedy=_REMEDY,
        )
    return part.astype(np.int8)
