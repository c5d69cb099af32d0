"""One command holds a folder, from before it reads its data until it ends (real processes)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.benchmark import running as matrix
from recsys.config import to_toml
from recsys.errors import InputError
from recsys.experiment.execution import execute, open_run
from recsys.experiment.experiment import from_tree
from recsys.experiment.progress import EpochDone, Event
from recsys.files import LOCK, Lock, exclusive, is_held, new_folder
from recsys.study import tuning as study

# The command line, which stops where it would read its data until a file called `go` is there.
PAUSED = """
import sys, time
from pathlib import Path
import recsys.cli.run, recsys.cli.tune, recsys.benchmark.running
import recsys.experiment.execution, recsys.study.train_valid
from recsys.cli import main

name = sys.argv.pop(1)
read = recsys.experiment.execution.data_of

def paused(experiment):
    Path("reading-" + name).touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return read(experiment)

for module in (recsys.experiment.execution, recsys.study.train_valid, recsys.benchmark.running):
    module.data_of = paused
for module in (recsys.cli.run, recsys.cli.tune):  # the same second for everyone
    module.stamped = lambda name: name + "-now"
main()
"""

SPACE = {"train.lr": {"low": 1e-3, "high": 1e-1, "log": True}}


def write_inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    user, item = np.repeat(np.arange(40), 8), rng.integers(25, size=320)
    frame = pl.DataFrame({"user": user, "item": item}).unique(maintain_order=True)
    frame.write_csv(folder / "log.csv")
    (folder / "small.toml").write_text(to_toml(tree(folder)), encoding="utf-8")
    searched = tree(folder, tune={"trials": 1, "space": SPACE})
    (folder / "search.toml").write_text(to_toml(searched), encoding="utf-8")
    cells = {
        "methods": ["popular", "itemknn"],
        "baselines": False,
        "seeds": 1,
        "trials": 1,
        "data": {"one": {"data": {"path": str(folder / "log.csv")}}},
        "evaluate": {"metrics": ["recall@5"], "monitor": "recall@5"},
    }
    (folder / "cells.toml").write_text(to_toml(cells), encoding="utf-8")


def tree(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"path": str(folder / "log.csv")},
        "model": {"name": "mf", "dim": 4},
        "train": {"epochs": 2, "batch_size": 128, "device": "cpu"},
        "evaluate": {"metrics": ["recall@5"], "monitor": "recall@5"},
        **more,
    }


@pytest.fixture
def work(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


class Command:
    """A command line in a process of its own."""

    def __init__(self, work: Path, name: str, *arguments: str) -> None:
        self.work, self.name = work, name
        self.process = subprocess.Popen(
            [sys.executable, "-c", PAUSED, name, *arguments, "-q"],
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_it_reads(self) -> None:
        while not (self.work / f"reading-{self.name}").exists():
            assert self.process.poll() is None, self.end()
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Exit code and what was written to standard error."""
        _, err = self.process.communicate(timeout=300)
        return self.process.returncode, err


@contextmanager
def commands() -> Iterator[list[Command]]:
    begun: list[Command] = []
    try:
        yield begun
    finally:
        for command in begun:
            command.process.kill()
            command.process.communicate()


KINDS = [
    (("run", "small.toml"), "run", "run.json"),
    (("tune", "search.toml"), "study", "best.toml"),
    (("benchmark", "cells.toml"), "benchmark", "table.md"),
]


@pytest.mark.parametrize(("arguments", "what", "last"), KINDS)
def test_the_second_into_a_folder_is_refused_while_the_first_reads_its_data(
    work: Path, arguments: tuple[str, ...], what: str, last: str
) -> None:
    with commands() as begun:
        first = Command(work, "first", *arguments, "--out", "out")
        begun.append(first)
        first.wait_until_it_reads()
        assert (work / "out").is_dir(), "claimed before the data are read"
        second = Command(work, "second", *arguments, "--out", "out")
        begun.append(second)
        code, err = second.end()
        assert code == 75
        assert err.startswith(f"recsys: out: another command works on this {what}; wait for it")
        assert len(err.splitlines()) == 1
        assert not (work / "reading-second").exists(), "refused before it reads anything"
        (work / "go").touch()
        assert first.end()[0] == 0
    assert (work / "out" / last).exists()
    assert not (work / "out" / LOCK).exists()


@pytest.mark.parametrize(
    ("arguments", "name"), [(KINDS[0][0], "small-now"), (KINDS[1][0], "small-tune-now")]
)
def test_of_two_commands_in_one_second_each_has_a_folder(
    work: Path, arguments: tuple[str, ...], name: str
) -> None:
    with commands() as begun:
        begun += [Command(work, each, *arguments) for each in ("one", "two")]
        for command in begun:
            command.wait_until_it_reads()
        (work / "go").touch()
        assert [command.end()[0] for command in begun] == [0, 0]
    assert sorted(path.name for path in (work / "runs").iterdir()) == [name, f"{name}-2"]
    for folder in (work / "runs").iterdir():
        assert (folder / ("run.json" if "tune" not in name else "best.toml")).exists()


class Killed(BaseException):
    pass


def test_a_run_that_is_still_going_is_not_resumed_until_its_process_is_killed(work: Path) -> None:
    def die(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise Killed

    with pytest.raises(Killed):
        execute(from_tree(tree(work)), work / "out", watch=die)
    assert not (work / "out" / LOCK).exists()
    with commands() as begun:
        first = Command(work, "first", "run", "--resume", "out")
        begun.append(first)
        first.wait_until_it_reads()
        second = Command(work, "second", "run", "--resume", "out")
        begun.append(second)
        code, err = second.end()
        assert (code, "another command works on this run" in err) == (75, True)
        first.process.kill()
        first.process.wait()
        assert (work / "out" / LOCK).exists(), "left by the killed process, and held by nobody"
        assert not is_held(work / "out" / LOCK)
        (work / "go").touch()
        third = Command(work, "third", "run", "--resume", "out")
        begun.append(third)
        assert third.end()[0] == 0
    assert open_run(work / "out").meta.status == "finished"
    plain = execute(from_tree(tree(work)), work / "plain")
    assert open_run(work / "out").fingerprint == plain.fingerprint


def test_what_was_killed_while_it_read_leaves_its_name_free(work: Path) -> None:
    with commands() as begun:
        first = Command(work, "first", "run", "small.toml", "--out", "out")
        begun.append(first)
        first.wait_until_it_reads()
        first.process.kill()
        first.process.wait()
    assert [path.name for path in (work / "out").iterdir()] == [LOCK]
    assert execute(from_tree(tree(work)), work / "out").meta.status == "finished"


# Mistakes that show early


def test_bad_data_leave_no_folder_that_blocks_the_next_try(work: Path) -> None:
    (work / "log.csv").rename(work / "away.csv")
    experiment = from_tree(tree(work))
    searched = from_tree(tree(work, tune={"trials": 1, "space": SPACE}))
    before = sorted(path.name for path in work.iterdir())
    for begin in (
        lambda: execute(experiment, work / "new" / "below"),
        lambda: study.tune(searched, work / "new" / "below"),
        lambda: matrix.benchmark(work / "cells.toml", work / "new" / "below"),
    ):
        with pytest.raises(InputError, match=r"log\.csv: no such file"):
            begin()
        assert sorted(path.name for path in work.iterdir()) == before
    (work / "away.csv").rename(work / "log.csv")
    assert execute(experiment, work / "new" / "below").meta.status == "finished"


def test_an_empty_folder_of_the_users_own_is_taken_and_stays(work: Path) -> None:
    (work / "mine").mkdir()
    (work / "log.csv").rename(work / "away.csv")
    with pytest.raises(InputError, match="no such file"):
        execute(from_tree(tree(work)), work / "mine")
    assert list((work / "mine").iterdir()) == []
    (work / "away.csv").rename(work / "log.csv")
    execute(from_tree(tree(work)), work / "mine")
    assert (work / "mine" / "run.json").exists()


def test_a_folder_of_something_else_is_left_as_it_is(work: Path) -> None:
    (work / "other").mkdir()
    (work / "other" / "letter.txt").write_text("dear")
    searched = from_tree(tree(work, tune={"trials": 1, "space": SPACE}))
    for begin, cause in (
        (lambda: execute(from_tree(tree(work)), work / "other"), "not empty"),
        (lambda: study.tune(searched, work / "other"), "not empty"),
        (lambda: matrix.benchmark(work / "cells.toml", work / "other"), "is not a benchmark"),
    ):
        with pytest.raises(InputError, match=cause):
            begin()
        assert [path.name for path in (work / "other").iterdir()] == ["letter.txt"]


# The parts


RACE = """
import sys, time
from pathlib import Path
from recsys.errors import InputError
from recsys.files import exclusive, new_folder

def at_once():
    Path("ready-" + sys.argv[1]).touch()
    while not Path("start").exists():
        pass

at_once()
won = 0
for number in range(int(sys.argv[2])):
    try:
        with exclusive(Path(f"folder-{number}"), "folder", "wait"):
            (Path(f"folder-{number}") / sys.argv[1]).touch()
            while not Path("end").exists():
                time.sleep(0.005)
                if len(list(Path().glob(f"tried-{number}-*"))) == 3:
                    break
            won += 1
    except InputError:
        Path(f"tried-{number}-{sys.argv[1]}").touch()
        continue
    with new_folder(Path("runs"), "same") as own:
        (own / sys.argv[1]).touch()
"""


def test_of_processes_that_race_for_a_folder_one_wins(tmp_path: Path) -> None:
    rounds, names = 5, ["a", "b", "c", "d"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, name, str(rounds)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for name in names
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(names):
        time.sleep(0.01)
    (tmp_path / "start").touch()
    assert [process.wait(timeout=120) for process in processes] == [0] * len(names)
    for number in range(rounds):
        assert len(list((tmp_path / f"folder-{number}").iterdir())) == 1
    # Each winner has a folder of its own under the one name that all asked for.
    own = sorted((tmp_path / "runs").iterdir())
    assert len(own) == rounds
    assert {folder.name for folder in own} == {"same", *(f"same-{n}" for n in range(2, rounds + 1))}
    assert all(len(list(folder.iterdir())) == 1 for folder in own)


def test_names_that_are_taken_get_a_suffix(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a-2").write_text("a file")
    with new_folder(tmp_path / "runs", "a") as folder:
        assert folder == tmp_path / "runs" / "a-3"
        with new_folder(tmp_path / "runs", "a") as other:
            assert other == tmp_path / "runs" / "a-4"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "a-2"]
    with new_folder(tmp_path / "more", "b") as folder:
        (folder / "kept").touch()
    assert (tmp_path / "more" / "b" / "kept").exists()


def test_whoever_waited_for_a_lock_whose_file_is_gone_has_one_that_counts(tmp_path: Path) -> None:
    """Else the waiting thread would hold a file without a name, and a third the new one."""
    first, second, third = (Lock(tmp_path / "lock") for _ in range(3))
    assert first.take(wait=False)
    waiting = threading.Thread(target=second.take, kwargs={"wait": True})
    waiting.start()
    time.sleep(0.2)  # it has opened the file by now; if not, the test is easier and still right
    first.free(remove=True)
    waiting.join(timeout=30)
    assert not third.take(wait=False)
    second.free(remove=True)
    assert third.take(wait=False)
    third.free(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_windows_locks_by_its_own_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call of Windows returns at once or fails; a table of locked files plays its part."""
    held: set[int] = set()
    calls = []

    def locking(descriptor: int, mode: int, size: int) -> None:
        calls.append((mode, size))
        if os.fstat(descriptor).st_ino in held:
            raise OSError(36, "Resource deadlock avoided")
        held.add(os.fstat(descriptor).st_ino)

    windows: Any = ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK = locking, 2
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    first, second = (Lock(tmp_path / "lock") for _ in range(2))
    assert first.take(wait=False)
    assert not second.take(wait=False)
    waiting = threading.Thread(target=second.take, kwargs={"wait": True})
    waiting.start()
    time.sleep(0.2)
    assert waiting.is_alive()
    held.clear()
    waiting.join(timeout=30)
    assert not waiting.is_alive()
    assert set(calls) == {(2, 1)}


def test_a_disk_without_locks_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive(tmp_path / "new", "run", "wait"):
        (tmp_path / "new" / "result").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result"]
