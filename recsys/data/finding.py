"""The result of one check of the data or of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["ok", "warning", "error"]
_GRAVITY: dict[str, int] = {"ok": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        check: name of the check.
        severity: "error" if a number measured on the data is wrong, "warning" if it may not answer
            the question that the user has.
        count: how many pairs, users, items or columns are concerned; the message names which.
        message: what is wrong, with shares.
        remedy: what the user can do; empty if nothing needs to be done.
    """

    check: str
    severity: Severity
    count: int
    message: str
    remedy: str = ""

    @property
    def gravity(self) -> int:
        """The severity as a number: 0 ok, 1 warning, 2 error."""
        return _GRAVITY[self.severity]
