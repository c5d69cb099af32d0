"""Interrupted commands: SIGTERM as an exception, and how each command goes on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence

__all__ = ["Terminated", "ended_by_sigterm", "how_it_goes_on"]

_GOES_ON = {
    "run": "a run goes on with `recsys run --resume RUN`",
    "tune": "a study goes on with `recsys tune --resume STUDY`",
    "benchmark": "the same command goes on with the next cell",
    "recommend": "the same command goes on with the parts that are missing in its --out folder",
    "serve": "the service is stopped",
}


class Terminated(BaseException):
    """The process received SIGTERM, as from a scheduler or a container that stops."""


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM inside the block, so that files and locks are released."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def how_it_goes_on(arguments: Sequence[str]) -> str:
    """Return in words how the command with these arguments goes on after an interruption."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    return _GOES_ON.get(command, "nothing half-written is left")
