"""A mistake on the command line, and the files that mistakes begin with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOG = "user,item,rating,time\n" + "".join(
    f"u{user:02d},i{user % 2 + 2 * ((7 * user + 4 * j) % 15):02d},{1 + (user + j) % 5},"
    f"{1_700_000_000 + 100 * user + 86_400 * j}\n"
    for user in range(30)
    for j in range(8)
)
MF = """[data]
path = "log.csv"

[model]
name = "mf"
dim = 8

[train]
epochs = 2
batch_size = 64
device = "cpu"

[evaluate]
metrics = ["recall@5", "ndcg@5"]
monitor = "ndcg@5"
"""
HEAD = "user,item,rating\n"
# u31 and i77 occur in the test period alone.
LATE = {
    "late.csv": "user,item,time\n"
    + "".join(f"u{n % 8:02d},i{n % 7:02d},{n}\n" for n in range(24))
    + "u31,i01,30\nu02,i77,31\n",
    "late.toml": MF.replace("log.csv", "late.csv")
    .replace("[model]", '[split]\nby = "time"\ntest_from = 0.8\n\n[model]', 1)
    .replace("epochs = 2", "epochs = 1"),
}


@dataclass(frozen=True)
class Case:
    """One mistake.

    Args:
        what: the mistake, in words.
        command: the arguments of `recsys`.
        says: pieces that the line must hold: the place, the cause, the remedy.
        files: what lies in the working folder besides the usual; None removes.
        before: what else is done before, with its words for the page.
        around: what is true while the command runs, with its words for the page.
        theirs: a pattern whose group is the text of a library or of the operating system, which
            the page replaces by dots.
        real: in a process of its own, after this.
        code: the exit code.
    """

    what: str
    command: str
    says: tuple[str, ...]
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)
    before: tuple[str, Callable[[Path], object]] | None = None
    around: tuple[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None
    theirs: str = ""
    real: Callable[[], None] | None = None
    code: int = 2
