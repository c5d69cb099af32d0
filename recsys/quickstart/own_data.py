"""The data of an experiment without a TOML file, with the names of the columns that were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys.config import build

if TYPE_CHECKING:
    from recsys.data.load import LoadedData

__all__ = ["StartingData", "starting_data"]

_FEW_STARS = 10  # a scale of ratings ends here


@dataclass(frozen=True, eq=False)
class StartingData:
    """Data that were loaded, and the section `[data]` that loads them again.

    Args:
        table: the section, with every column that was recognised.
        loaded: the interactions.
        guessed: the keys of `table` that were not given.
        unread: columns of the file without a role.
    """

    table: Mapping[str, Any]
    loaded: LoadedData
    guessed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether the source is already split into train, valid and test."""
        return self.loaded.parts is not None

    @property
    def notes(self) -> list[str]:
        """What was guessed, in words, with the setting that says otherwise."""
        notes = []
        roles = [key for key in self.guessed if key != "header"]
        if roles:
            columns = ", ".join(f"{role} = {self.table[role]!r}" for role in roles)
            notes.append(f"columns guessed: {columns}; say otherwise with data.{roles[0]}=COLUMN")
        if self.unread:
            notes.append(f"columns not read: {', '.join(self.unread)}")
        weight = self.loaded.dataset.pairs.weight
        if weight is not None and len(weight) and "min_weight" not in self.table:
            low, high = float(weight.min()), float(weight.max())
            if low < high <= _FEW_STARS:
                notes.append(
                    f"weights from {low:g} to {high:g} all count as interactions; "
                    f"data.min_weight={_threshold(high):g} keeps the higher ones"
                )
        return notes


def starting_data(table: Mapping[str, Any]) -> StartingData:
    """Load data, and return them with the columns that were recognised.

    Args:
        table: the section `[data]` as far as it is known: a path or a source, and what the user
            set.

    Raises:
        InputError: the data cannot be read, or no column looks like users or items.
    """
    from recsys.data.load import load
    from recsys.data.reading import Source, guess_columns

    source = build(Source, dict(table), "[data]")
    guess = guess_columns(source)
    loaded = load(source)
    if guess is None:
        return StartingData(dict(table), loaded)
    return StartingData({**table, **guess.settings}, loaded, tuple(guess.settings), guess.unread)


def _threshold(high: float) -> float:
    """Return the usual lowest rating that counts as liked: 4 of 5 stars."""
    return float(round(0.8 * high))
