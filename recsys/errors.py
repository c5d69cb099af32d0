"""Errors for users: each names the place, the cause and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = [
    "InputError",
    "RetryError",
    "TrainingError",
    "first_line",
    "is_out_of_memory",
    "one_of",
    "suggest",
]

# PyTorch raises a RuntimeError with one of these phrases when an allocation fails.
_OUT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "Storage size calculation overflowed",
)


class InputError(Exception):
    """An input of the user is wrong: a file, a setting, an id or a checkpoint.

    The command line prints it as one line, `recsys: place: cause; remedy`, and exits with code 2.

    Args:
        cause: what is wrong: what was expected and what was found.
        place: where it is: a file with its line, or a section with its key.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, *, place: str | None = None, remedy: str | None = None) -> None:
        self.cause = cause
        self.place = place
        self.remedy = remedy
        super().__init__(cause, place, remedy)

    def __str__(self) -> str:
        line = f"{self.place}: {self.cause}" if self.place else self.cause
        return f"{line}; {self.remedy}" if self.remedy else line

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.cause, self.place, self.remedy)

    def at(self, place: str) -> InputError:
        """Return the same error with an outer place before its own, as in `file: [section] key`."""
        inner = f"{place}: {self.place}" if self.place else place
        return type(self)(self.cause, place=inner, remedy=self.remedy)


def _restored(
    kind: type[InputError], cause: str, place: str | None, remedy: str | None
) -> InputError:
    """Rebuild an error that was sent from another process."""
    return kind(cause, place=place, remedy=remedy)


class RetryError(InputError):
    """The request is right and the machine refused: a full disk, a folder in use, a lost volume.

    The same command succeeds once the cause is gone. The command line exits with code 75, so that a
    scheduler can try again later.
    """


class TrainingError(InputError):
    """Training reached a loss or a weight that is not a finite number."""


def suggest(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Suggest the word that the user may have intended.

    Args:
        word: the word that was typed.
        known: the words that are accepted.
        aliases: words of other libraries, mapped to the words of this one.

    Returns:
        `did you mean 'dim'? known: dim, margin, ...`; the question is left out if no known word
        is similar.
    """
    names = sorted(known)
    folded = word.lower().replace("-", "_")
    intended = (aliases or {}).get(folded)
    if intended not in names:
        near = difflib.get_close_matches(folded, names, n=1, cutoff=0.6)
        intended = near[0] if near else None
    listing = f"known: {', '.join(names)}" if names else "there is nothing to choose from"
    return f"did you mean '{intended}'? {listing}" if intended else listing


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of an exception's text, or its class name if it has no text.

    Args:
        error: an exception of any library.
        limit: maximal number of characters.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a failed allocation, on the CPU or the GPU."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def one_of(value: object, known: Iterable[str], name: str) -> None:
    """Refuse a value that is not one of the known words.

    Args:
        value: the value to check.
        known: the words that are accepted.
        name: the name of the setting, for the message.

    Raises:
        InputError: the value is not a known word; the message lists them and suggests one.
    """
    words = list(known)
    if value not in words:
        raise InputError(
            f"{name} must be {' or '.join(map(repr, words))}, got {value!r}",
            remedy=suggest(str(value), words),
        )
