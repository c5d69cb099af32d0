"""A page of docs/ whose files and commands a test carries out."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["blocks", "commands", "plain"]


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name of the file before a block ("" without), its language and its content."""
    for match in re.finditer(r"(?:`([\w.]+)`:\n\n)?```(\w*)\n(.*?)```", text, re.DOTALL):
        yield match[1] or "", match[2], match[3]


def commands(content: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, with the lines below it."""
    for part in content.split("$ ")[1:]:
        command, *lines = part.split("\n")
        yield command, lines


def plain(lines: list[str], left_out: str = "") -> tuple[list[str], list[float]]:
    """Return lines for comparison, sorted, without decimals and blank lines; and the decimals.

    The last digits of a score depend on the processor; the order of the items does not.

    Args:
        lines: what a command printed, or what the page shows.
        left_out: part of the lines that the page leaves out; "": none.
    """
    kept = sorted(" ".join(line.split()) for line in lines if line.strip())
    kept = [line for line in kept if set(line) != {"─"} and not (left_out and left_out in line)]
    numbers = [float(number) for line in kept for number in re.findall(r"\d+\.\d+", line)]
    return [re.sub(r"\d+\.\d+", "#", line) for line in kept], numbers
