"""Progress of `recsys recommend --out`: a bar, lines, or JSON lines."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any

import typer

from recsys.cli.recommend_notes import note

__all__ = ["JobProgress", "duration"]

_PAUSE = 10.0  # seconds between two lines


class JobProgress:
    """Print how many lists are written, how many a second, and the time left, on standard error.

    A terminal gets a bar. Otherwise a line is printed now and then, or with `json` a line of JSON
    per part. Lists that an earlier try had finished do not count for the speed.

    Args:
        what: what the lists are for, in the plural.
        json: whether to print JSON lines.
    """

    def __init__(self, what: str, json: bool) -> None:
        from rich.console import Console

        self.what, self.json = what, json
        self.console = Console(stderr=True, soft_wrap=True, markup=False)
        self.bar: Any = None
        self.begun: tuple[float, int] | None = None
        self.printed = time.monotonic()

    def __enter__(self) -> JobProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.begun is None:
            self.begun = (now, done)
        speed = (done - self.begun[1]) / max(now - self.begun[0], 1e-9)
        left = (total - done) / speed if speed > 0 else None
        if self.json:
            self.event("progress", done=done, total=total, per_second=speed, seconds_left=left)
        elif self.console.is_terminal:
            self._draw(done, total, speed, left)
        elif now - self.printed >= _PAUSE and done < total:
            self.printed = now
            note(self._line(done, total, speed, left))

    def event(self, name: str, **values: Any) -> None:
        """Print an event as a line of JSON, with the time."""
        entry = {"event": name, "time": time.time(), **values}
        rounded = {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in entry.items()
        }
        typer.echo(json.dumps(rounded, ensure_ascii=False), err=True)

    def _line(self, done: int, total: int, speed: float, left: float | None) -> str:
        line = f"{done:,} of {total:,} {self.what}"
        if left is None:
            return line
        return f"{line}, {speed:,.0f}/s, {duration(left)} left"

    def _draw(self, done: int, total: int, speed: float, left: float | None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        if self.bar is None:
            self.bar = Progress(
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                console=self.console,
                transient=True,
                refresh_per_second=4,
            )
            self.bar.start()
            self.bar.add_task("", total=total, text="")
        self.bar.update(0, completed=done, text=self._line(done, total, speed, left))


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, as in `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
