"""What one check of a split has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["ok", "warning", "error"]
_GRAVITY: dict[str, int] = {"ok": 0, "warning": 1, "error": 2}


@dataclass(frozen=True)
class Finding:
    """What one check has to say.

    Args:
        check: which one.
        severity: "error" where a number measured on the split is wrong, "warning" where it answers another question.
        count: how many pairs, users, items or columns are concerned; the message says which.
        message: what was found, with shares.
        remedy: what to do about it; empty where there is nothing to do.
    """

    check: str
    severity: Severity
    count: int
    message: str
    remedy: str = ""

    @property
    def gravity(self) -> int:
        """0 ok, 1 warning, 2 error."""
        return _GRAVITY[self.severity]
