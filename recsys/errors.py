"""Every error a user can meet, said helpfully: the place, the cause, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = ["InputError", "TrainingError", "first_line", "one_of", "suggest"]


class InputError(Exception):
    """Something the user gave is wrong: a file, a setting, an id, a checkpoint.

    The command line prints it as one line, `recsys: place: cause; remedy`, and exits with code 2.

    Args:
        cause: what is wrong, with the offending value.
        place: where it is: a file with its line, a section with its key.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, *, place: str | None = None, remedy: str | None = None) -> None:
        self.cause, self.place, self.remedy = cause, place, remedy
        super().__init__(cause, place, remedy)

    def __str__(self) -> str:
        line = f"{self.place}: {self.cause}" if self.place else self.cause
        return f"{line}; {self.remedy}" if self.remedy else line

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (type(self), self.cause, self.place, self.remedy)

    def at(self, place: str) -> InputError:
        """The same error with an outer place put before its own, as in `file: [section] key`."""
        inner = f"{place}: {self.place}" if self.place else place
        return type(self)(self.cause, place=inner, remedy=self.remedy)


def _remake(
    kind: type[InputError], cause: str, place: str | None, remedy: str | None
) -> InputError:
    """The same error in another process."""
    return kind(cause, place=place, remedy=remedy)


class TrainingError(InputError):
    """Training met a loss or a weight that is not a finite number."""


def suggest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Say what the user may have meant.

    Args:
        word: what was typed.
        known: the words that would have been accepted.
        aliases: words that people bring from other libraries, mapped to ours.

    Returns:
        `did you mean 'dim'? known: dim, margin, ...`, the first half only where a near word exists.
    """
    names = sorted(known)
    folded = word.lower().replace("-", "_")
    meant = (aliases or {}).get(folded)
    if meant not in names:
        near = difflib.get_close_matches(folded, names, n=1, cutoff=0.6)
        meant = near[0] if near else None
    listing = f"known: {', '.join(names)}" if names else "there is none to choose from"
    return f"did you mean '{meant}'? {listing}" if meant else listing


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of an error of a library; its class where it has no text.

    Args:
        error: what was raised.
        limit: characters at most.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


def one_of(value: object, known: Iterable[str], name: str) -> None:
    """Refuse a value that is not one of the known words.

    Raises:
        InputError: another value; it names the words, and the one that may have been meant.
    """
    words = list(known)
    if value not in words:
        raise InputError(
            f"{name} must be {' or '.join(map(repr, words))}, got {value!r}",
            remedy=suggest(str(value), words),
        )
