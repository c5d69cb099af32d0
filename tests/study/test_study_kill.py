"""A study killed at any moment and resumed has the trials and the best of an uninterrupted one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_study import SPACE, essence, files, small, tree

from recsys import files as recsys_files
from recsys import tensors
from recsys.config import to_toml
from recsys.experiment.experiment import read
from recsys.files import Lock
from recsys.study import storage as study_storage
from recsys.study import trial as trials
from recsys.study import trials_file
from recsys.study import worker as loop
from recsys.study.artifact import is_study
from recsys.study.progress import TrialBegun, TrialDone, WorkerLost
from recsys.study.storage import Journal
from recsys.study.tuning import Study, open_study, tune
from recsys.training.progress import EpochDone, Event, Resumed, StepDone


class Killed(BaseException):
    """What ends a process in a test; nothing may catch it."""


@contextlib.contextmanager
def dies_at(moment: int | None, torn: bool = False) -> Iterator[Counter[str]]:
    """Let the study die at its n-th moment.

    A moment is before or after a line of the journal or a file, or between two training steps.

    Args:
        moment: which one; None counts them.
        torn: a line of the journal is cut off in the middle instead of left out.
    """
    seen: Counter[str] = Counter()

    def pass_by(kind: str) -> None:
        seen[kind] += 1
        if seen.total() - 1 == moment:
            raise Killed(kind)

    append, fit = Journal.append_logs, trials.fit
    writes = {module: module.write_atomic for module in (recsys_files, trials_file, tensors)}

    def logs(self: Journal, lines: list[dict[str, Any]]) -> None:
        try:
            pass_by("before a line")
        except Killed:
            if torn:
                with self.path.open("ab") as file:
                    file.write(b'{"op_code":7,"worker_id":"x","tri')
            raise
        append(self, lines)
        pass_by("after a line")

    def fitting(*args: Any, watch: Any, **kwargs: Any) -> Any:
        def told(event: Event) -> None:
            pass_by({StepDone: "step", EpochDone: "epoch", Resumed: "resumed"}[type(event)])
            watch(event)

        return fit(*args, watch=told, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for module, write in writes.items():

            def writing(path: Path, produce: Any, write: Any = write) -> None:
                pass_by("before a file")
                write(path, produce)
                pass_by("after a file")

            patch.setattr(module, "write_atomic", writing)
        patch.setattr(Journal, "append_logs", logs)
        patch.setattr(loop, "_RARELY", 0)  # as many moments in every study
        patch.setattr(trials, "fit", fitting)
        yield seen


def start_or_resume(experiment: Any, folder: Path) -> Study:
    if is_study(folder):
        return tune(None, folder, resume=True)
    shutil.rmtree(folder, ignore_errors=True)  # it had not begun
    return tune(experiment, folder)


def experiment_of(folder: Path, **changes: Any) -> Any:
    return small(
        folder,
        train={"checkpoint_seconds": 0.0},
        tune={"trials": 5, "startup": 2, "pruner": "median", **changes},
    )


@pytest.mark.parametrize(
    ("torn", "moments"), [(False, 10), (True, 5), pytest.param(False, 1000, marks=pytest.mark.slow)]
)
def test_death_at_any_moment_leaves_no_trace(tmp_path: Path, torn: bool, moments: int) -> None:
    """The study is killed at a random moment, and once more at another, before it is resumed."""
    experiment = experiment_of(tmp_path)
    with dies_at(None) as seen:
        whole = tune(experiment, tmp_path / "whole")
    assert set(seen) == {
        "before a line",
        "after a line",
        "before a file",
        "after a file",
        "step",
        "epoch",
    }
    chosen = random.Random(torn).sample(range(seen.total()), min(moments, seen.total()))
    wanted, left = essence(whole), files(tmp_path / "whole")
    died = 0
    for number, moment in enumerate(chosen):
        folder = tmp_path / f"killed{number}"
        with dies_at(moment, torn), contextlib.suppress(Killed):
            tune(experiment, folder)
            died -= 1
        died += 1
        second = random.Random(moment).randrange(seen.total())
        with dies_at(second, torn), contextlib.suppress(Killed):
            start_or_resume(experiment, folder)
        study = start_or_resume(experiment, folder)
        assert essence(study) == wanted, f"moment {moment}, then {second}"
        assert files(folder) == left, f"moment {moment}, then {second}"
        shutil.rmtree(folder)
    assert died == len(chosen)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma", "random", "grid"])
def test_every_sampler_proposes_what_it_would_have(tmp_path: Path, sampler: str) -> None:
    if sampler == "cma":
        pytest.importorskip("cmaes")
    space = {
        path: SPACE[path]
        for path in {
            "cma": ("train.lr", "model.dim"),
            "grid": ("model.dim", "model.loss", "train.clip"),
        }.get(sampler, SPACE)
    }
    experiment = experiment_of(tmp_path, sampler=sampler, trials=9, space=space)
    wanted = essence(tune(experiment, tmp_path / "whole"))
    for at in (3, 6, 8):  # a new process for each part of the study
        study = tune(
            *((experiment, tmp_path / "parts") if at == 3 else (None, tmp_path / "parts")),
            resume=at > 3,
            budget={"trials": at},
        )
        assert len(study.trials) == at
    with dies_at(5), contextlib.suppress(Killed):  # between two parameters of the last
        tune(None, tmp_path / "parts", resume=True, budget={"trials": 9})
    assert essence(tune(None, tmp_path / "parts", resume=True, budget={"trials": 9})) == wanted


def test_a_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """It does not begin anew: the epochs that were done are not done again."""
    experiment = small(tmp_path, train={"checkpoint_seconds": 0.0, "epochs": 6}, tune={"trials": 2})
    with dies_at(None) as seen:
        tune(experiment, tmp_path / "whole")
    steps = seen["step"]
    with dies_at(None) as first:
        stop, count = steps * 3 // 4, 0
        fit = trials.fit

        def fitting(*args: Any, watch: Any, **kwargs: Any) -> Any:
            def told(event: Event) -> None:
                nonlocal count
                count += isinstance(event, StepDone)
                if count > stop:
                    raise Killed
                watch(event)

            return fit(*args, watch=told, **kwargs)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(trials, "fit", fitting)
            tune(experiment, tmp_path / "study")
    with dies_at(None) as rest:
        tune(None, tmp_path / "study", resume=True)
    assert first["step"] == stop + 1
    assert rest["step"] <= steps - stop


def test_a_line_that_was_cut_off_is_taken_away_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    whole = b"".join(b'{"op_code": %d}\n' % i for i in range(2000))
    for tail in (b"", b"{", b'{"op_code"' + b"x" * 10000):
        path.write_bytes(whole + tail)
        study_storage._mend(path)
        assert path.read_bytes() == whole
    path.write_bytes(b"no line")
    study_storage._mend(path)
    assert path.read_bytes() == b""


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from recsys.files import Lock\n"
        "lock = Lock(pathlib.Path(sys.argv[1]))\n"
        "print(lock.take(wait=False), flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    lock = Lock(tmp_path / "lock")
    assert not lock.take(wait=False)
    process.kill()
    process.wait()
    process.stdout.close()
    assert lock.take(wait=True)
    lock.free()


# Real processes.


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "recsys.cli", "tune", *arguments, "-q"]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
    }


def config_of(folder: Path, **changes: Any) -> Path:
    made = tree(
        folder,
        train={"checkpoint_seconds": 0.0, "epochs": 12, "patience": 4},
        tune={"trials": 12, "startup": 4, **changes},
    )
    path = folder / "small.toml"
    path.write_text(to_toml(made))
    assert read(path).tune is not None
    return path


def kill_until_done(
    config: Path, folder: Path, moments: random.Random, longest: float, kills: int
) -> int:
    """Start, kill after a random time, resume, ..., finish. Return the number of kills."""
    hit = 0
    for attempt in range(kills + 1):
        begun = is_study(folder)
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen(
            command("--resume", str(folder))
            if begun
            else command(str(config), "--out", str(folder)),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if attempt < kills:
            time.sleep(moments.uniform(0.0, longest))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                hit += 1
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        if process.returncode == 0:
            break
    return hit


def check_kills(tmp_path: Path, kills: int, **changes: Any) -> None:
    config = config_of(tmp_path, **changes)
    began = time.monotonic()
    subprocess.run(
        command(str(config), "--out", str(tmp_path / "whole")),
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    longest = time.monotonic() - began
    wanted, left = essence(open_study(tmp_path / "whole")), files(tmp_path / "whole")
    moments, hit, tries = random.Random(7), 0, 0
    while hit < kills:
        tries += 1
        folder = tmp_path / f"killed{tries}"
        hit += kill_until_done(config, folder, moments, longest, kills - hit)
        study = open_study(folder)
        assert study.meta.status == "finished"
        assert essence(study) == wanted, f"after {hit} kills"
        assert files(folder) == left, f"after {hit} kills"


def test_one_kill_leaves_no_trace(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "prune"), [("tpe", "median"), ("gp", "none")])
def test_many_kills_leave_no_trace(tmp_path: Path, sampler: str, prune: str) -> None:
    check_kills(tmp_path, kills=12, sampler=sampler, pruner=prune)


# Several workers.


def test_several_workers_share_the_budget(tmp_path: Path) -> None:
    events: list[Any] = []
    study = tune(
        small(tmp_path, tune={"trials": 8}),
        tmp_path / "study",
        workers=2,
        threads=1,
        watch=events.append,
    )
    assert sorted(trial.number for trial in study.trials) == list(range(8))
    assert {trial.state for trial in study.trials} == {"complete"}
    assert study.trials[0].origin == "own"
    done = [event.number for event in events if isinstance(event, TrialDone)]
    assert sorted(done) == list(range(8))
    assert study.meta.status == "finished"
    alone = tune(small(tmp_path, tune={"trials": 1}), tmp_path / "alone")
    assert study.trials[0].values == alone.trials[0].values


def kill_worker(*, all_of_them: bool = False) -> int:
    """Kill one of this process's workers, or all; how many there were to kill."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if (
                b"recsys.study.pool_worker" in words
                and parent == os.getpid()
                and (all_of_them or not killed)
            ):
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed


def test_a_killed_worker_loses_nothing_and_leaves_no_zombie(tmp_path: Path) -> None:
    """Workers are killed within a trial; each trial ends under its number, with its settings."""
    experiment = small(
        tmp_path,
        train={"epochs": 30, "patience": "none", "checkpoint_seconds": 0.0},
        tune={"trials": 6},
    )
    killed: dict[int, Any] = {}
    lost: list[str] = []

    def watch(event: object) -> None:
        if isinstance(event, WorkerLost):
            lost.append(event.text)
        elif isinstance(event, TrialBegun) and event.number in {1, 3} - killed.keys():
            killed[event.number] = event.settings
            kill_worker(all_of_them=True)

    if not Path("/proc").is_dir():
        pytest.skip("finds its workers in /proc")
    study = tune(experiment, tmp_path / "study", workers=2, threads=1, watch=watch)
    assert set(killed) == {1, 3}
    assert len(lost) >= 2
    assert all("was killed (signal 9) in trial" in text for text in lost)
    assert [trial.state for trial in study.trials] == ["complete"] * 6
    assert {number: study.trials[number].settings for number in killed} == killed


def test_a_trial_that_no_worker_survives_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting kills whoever tries it."""
    (tmp_path / "lethal").mkdir()
    (tmp_path / "lethal" / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'recsys.study.pool_worker' in ' '.join(sys.orig_argv):\n"
        "    from recsys.study import trial\n"
        "    fit = trial.fit\n"
        "    def lethal(recipe, *args, **kwargs):\n"
        "        if recipe.dim == 12:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return fit(recipe, *args, **kwargs)\n"
        "    trial.fit = lethal\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lethal"))
    change = {"sampler": "grid", "space": {"model.dim": {"choices": [4, 8, 12]}}, "trials": 3}
    study = tune(small(tmp_path, tune=change), tmp_path / "study", workers=2, threads=1)
    assert {trial.settings["model.dim"]: trial.state for trial in study.trials} == {
        4: "complete",
        8: "complete",
        12: "failed",
    }
    assert "cost 3 workers their life" in next(
        trial.reason for trial in study.trials if trial.state == "failed"
    )
    assert study.used().trials == 3


def test_a_mistake_in_a_worker_is_the_mistake_of_the_study(tmp_path: Path) -> None:
    from recsys.errors import InputError

    experiment = small(tmp_path, train={"device": "cuda:99"})
    with pytest.raises(InputError, match="cuda:99"):
        tune(experiment, tmp_path / "study", workers=2, threads=1)
    assert not (tmp_path / "study").exists()


def test_a_line_cut_off_by_another_worker_is_no_harm(tmp_path: Path) -> None:
    """It has died in the middle of a line while this one had the journal open."""
    study = tune(small(tmp_path, tune={"trials": 1}), tmp_path / "study")
    journal = tmp_path / "study" / "study.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code":7,"worker_id":"x","tri')
    study.optuna.set_user_attr("after", "the line")
    assert open_study(tmp_path / "study").optuna.user_attrs["after"] == "the line"
    assert journal.read_bytes().count(b'"op_code":7,"worker_id":"x"') == 0
