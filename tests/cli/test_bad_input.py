"""Every mistake a user can make gets one clear line and exit code 2 and leaves no partial output.

The cases of mistakes.py run through the real command line. `make bad-input` writes their output to
docs/bad-input.md.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from mistakes import ALL, GROUPS, LOG, MF, Case, invoke

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bad-input.md"


@dataclass(frozen=True)
class Found:
    """The outcome of a case: exit code, standard output and error, and files that changed."""

    code: object
    out: str
    err: str
    changed: frozenset[str]


def outside(command: str, first: Callable[[], None] | None = None) -> tuple[object, str, str]:
    """The command line in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    arguments = [sys.executable, "-m", "recsys.cli", *shlex.split(command)]
    done = subprocess.run(
        arguments,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=first,
    )
    return done.returncode, done.stdout, done.stderr


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[Path]:
    """A working folder and a home of its own."""
    with (
        contextlib.chdir(folder),
        mock.patch.dict(
            os.environ,
            {"RECSYS_HOME": str(folder / "home"), "RECSYS_OFFLINE": "0", "COLUMNS": "220"},
        ),
    ):
        yield folder


def furnish(folder: Path) -> None:
    """What every case finds: a log, an experiment, and runs of it."""
    from recsys.experiment.execution import execute
    from recsys.experiment.experiment import read
    from recsys.experiment.progress import Event, StepDone

    (folder / "log.csv").write_text(LOG)
    (folder / "few.csv").write_text("".join(LOG.splitlines(keepends=True)[:161]))
    (folder / "mf.toml").write_text(MF)
    with at_work(folder):
        changes = {
            "done": "name=done",
            "other": "name=other model.dim=4",
            "seed": "name=seed split.seed=1",
            "refit": "name=refit refit=true",
            "few": "name=few data.path=few.csv",
        }
        for name, settings in changes.items():
            code, _, err = invoke(f"run mf.toml -q --out runs/{name} {settings}")
            assert code == 0, err

        def stop(event: Event) -> None:
            if isinstance(event, StepDone) and event.epoch == 1:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            execute(
                read("mf.toml", ["name=half", "train.checkpoint_seconds=0"]),
                Path("runs/half"),
                watch=stop,
            )


def restore(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and nothing else."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def attempt(case: Case, usual: Mapping[str, bytes], folder: Path) -> Found:
    """Make the mistake, in a fresh working folder."""
    restore(folder, usual)
    for name, content in case.files.items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with at_work(folder):
        if case.before is not None:
            case.before[1](folder)
        before = snapshot(folder)
        with case.around[1]() if case.around is not None else contextlib.nullcontext():
            code, out, err = (
                outside(case.command, case.real) if case.real is not None else invoke(case.command)
            )
        after = snapshot(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return Found(code, out, err.replace(f"{folder}/", ""), frozenset(changed))


class Desk:
    """The place of all mistakes. Each is made once, in one folder, so that paths are equal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve() / "work"
        self.folder.mkdir()
        furnish(self.folder)
        self.usual = snapshot(self.folder)
        self.found: dict[int, Found] = {}

    def __getitem__(self, number: int) -> Found:
        if number not in self.found:
            self.found[number] = attempt(ALL[number][1], self.usual, self.folder)
        return self.found[number]


def line_of(case: Case, found: Found) -> str:
    """Return the output, with dots for words of the machine and for lists that grow."""
    line = found.err.strip()
    if case.theirs:
        hit = re.search(case.theirs, line)
        assert hit, f"{case.theirs!r} is not in {line!r}"
        line = f"{line[: hit.start(1)]}...{line[hit.end(1) :]}"
    return re.sub(r"(known|name a method): [^;]*(, [^;]*){4}$", r"\1: ...", line)


def shown(content: str | bytes | None) -> str | None:
    """A file's content for the page, where it is short text."""
    if content is None or isinstance(content, bytes) or len(content) > 400 or "\r" in content:
        return None
    return content


def page(desk: Desk) -> str:
    """The page, in Markdown."""
    lines = [
        "# What happens when the input is wrong",
        "",
        f"{len(ALL)} mistakes, each with the answer of `recsys`: one line on standard error,",
        "exit code 2 or 75, no partial output. 75 says that the same command may succeed later.",
        "`make bad-input` writes this page; a test checks that it is current. Three dots replace",
        "words of a library or of the operating system, which differ between machines, and long",
        "lists of known names.",
        "",
        "The folder has `log.csv` (user, item, rating, time; 30 users, 30 items, 240 rows), the",
        "experiment `mf.toml`, and the runs `done`, `other` (another dimension), `seed` (another",
        "split), `few` (of `few.csv`, 20 users), `refit`, and `half`, which was interrupted.",
    ]
    for number, (group, case) in enumerate(ALL):
        if case is GROUPS[group][0]:
            lines += ["", f"## {group}"]
        found = desk[number]
        said = [case.before[0]] if case.before else []
        said += [case.around[0]] if case.around else []
        said += [f"`{name}` is gone" for name, content in case.files.items() if content is None]
        lines += ["", f"### {case.what}", ""] + (
            [f"Before: {'; '.join(said)}." if case.before else f"Here {'; '.join(said)}.", ""]
            if said
            else []
        )
        for name, content in case.files.items():
            if (text := shown(content)) is not None:
                lines += [
                    f"`{name}`:",
                    "",
                    "```",
                    *(text.rstrip("\n").split("\n") if text else []),
                    "```",
                    "",
                ]
        lines += ["```console", f"$ recsys {case.command}", line_of(case, found), "```"]
        if case.code != 2:
            lines += ["", f"Exit code {case.code}."]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("mistakes"))


@pytest.mark.parametrize(
    "number", range(len(ALL)), ids=[f"{group}: {case.what}" for group, case in ALL]
)
def test_one_line_and_nothing_half_written(desk: Desk, number: int) -> None:
    case, found = ALL[number][1], desk[number]
    assert found.code == case.code, f"exit code {found.code}\n{found.err}"
    assert found.out == ""
    assert found.err.startswith("recsys: ")
    assert found.err.endswith("\n")
    assert found.err.count("\n") == 1, found.err
    assert "; " in found.err, f"no remedy: {found.err}"
    for piece in case.says:
        assert piece in found.err, f"{piece!r} is not in {found.err!r}"
    assert not found.changed, f"left behind or changed: {sorted(found.changed)}"


def test_there_are_many_and_no_two_alike() -> None:
    assert len(ALL) >= 50
    keys = [(group, case.what) for group, case in ALL]
    assert len(set(keys)) == len(keys)


def test_a_traceback_or_a_file_left_behind_would_be_seen(tmp_path: Path) -> None:
    """The harness itself: what a mistake that is not caught would look like."""

    def careless(**_: object) -> None:
        Path("half-written").write_text("half")
        Path("log.csv").unlink()
        raise KeyError("lost")

    with mock.patch("recsys.cli.app", side_effect=careless):
        found = attempt(Case("", "run", ()), {"log.csv": b"mine"}, tmp_path)
    assert found.code == "KeyError: 'lost'"
    assert found.changed == {"half-written", "log.csv"}


def test_a_run_that_failed_on_the_way_can_go_on(desk: Desk) -> None:
    """A full disk in the middle of training: what is there is a run, and it goes on."""
    from recsys import files

    restore(desk.folder, desk.usual)
    flush, calls = os.fsync, iter(range(1000))

    def fills_up(descriptor: int) -> None:
        if next(calls) >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with at_work(desk.folder):
        command = "run mf.toml -q --out runs/{} train.epochs=6 train.checkpoint_seconds=0"
        with mock.patch.object(files.os, "fsync", fills_up):
            code, _, err = invoke(command.format("new"))
        assert (code, err.count("\n")) == (75, 1)
        assert "the disk is full" in err
        assert json.loads(Path("runs/new/run.json").read_text())["status"] == "running"
        assert not [path for path in Path("runs/new").rglob("*") if path.suffix == ".tmp"]
        assert invoke("run -q --resume runs/new")[0] == 0
        assert invoke(command.format("whole"))[0] == 0
        assert (
            Path("runs/new/scorer.safetensors").read_bytes()
            == Path("runs/whole/scorer.safetensors").read_bytes()
        )


def test_the_page_is_current(desk: Desk) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(desk), "run make bad-input"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Desk(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # where the package is not installed
    main()
