"""Carry out and count what docs/tuning.md says of studies.

    python benchmarks/studies.py kill --path users.dat
    python benchmarks/studies.py postgres
    python benchmarks/studies.py overhead

kill: 40 trials of CML on Steam-200k, killed (-9) five times; is it the same study as one that was
left alone? --path is the users.dat of Steam-200k if the catalogue lacks it.
postgres: 100 trials of four workers on PostgreSQL, one killed every few seconds; is a trial lost?
It starts a server from the installed programs, on a free port, in a temporary folder.
overhead: the cost of a trial besides training, from the first to the thousandth.

Each prints a table and a verdict; the exit code is 1 where the verdict is no.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from study_experiments import steam, tiny

from recsys.config import to_toml
from recsys.errors import InputError
from recsys.experiment.execution import data_of
from recsys.study import trial
from recsys.study.progress import DataLoaded, TrialBegun, TrialDone
from recsys.study.tuning import Study, open_study, tune

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from postgres import Missing, serve  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("kill", help="killed and resumed: the same study?")
    one.add_argument("--path", help="users.dat of Steam-200k; default: from the catalogue")
    one.add_argument("--model", choices=["cml", "dpcml"], default="cml")
    one.add_argument("--trials", type=int, default=40)
    one.add_argument("--kills", type=int, default=5)
    one.add_argument("--epochs", type=int, default=2, help="of each trial")
    one.add_argument("--seed", type=int, default=0, help="of the moments")
    one.add_argument(
        "--out", type=Path, help="folder to keep both studies in; default: a temporary one"
    )
    one.set_defaults(run=kill)
    two = commands.add_parser("postgres", help="four workers on PostgreSQL, killed again and again")
    two.add_argument("--trials", type=int, default=100)
    two.add_argument("--workers", type=int, default=4)
    two.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    two.add_argument("--epochs", type=int, default=20, help="of each trial")
    two.add_argument("--seed", type=int, default=0, help="of who is killed")
    two.set_defaults(run=postgres)
    three = commands.add_parser("overhead", help="what a trial costs besides training")
    three.add_argument("--trials", type=int, default=1000)
    three.add_argument(
        "--storage", nargs="+", choices=["journal", "sqlite", "postgres"], default=["journal"]
    )
    three.add_argument("--sampler", choices=["tpe", "random", "gp"], default="tpe")
    three.set_defaults(run=overhead)
    arguments = parser.parse_args()
    return arguments.run(arguments)


# Killed and resumed.


def kill(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="studies-") as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "study.toml"
        whole, parts = folder / "whole", folder / "killed"
        path = None if arguments.path is None else str(Path(arguments.path).resolve())
        config.write_text(
            to_toml(steam(path, arguments.model, arguments.trials, arguments.epochs)),
            encoding="utf-8",
        )
        if any(each.exists() for each in (whole, parts)):
            raise InputError(
                "holds studies already", place=str(folder), remedy="choose another --out"
            )
        began = time.monotonic()
        if start([str(config), "--out", str(whole)]).wait():
            return 1
        alone = time.monotonic() - began
        print(f"left alone: {arguments.trials} trials in {alone:.0f} s", flush=True)
        rng = np.random.default_rng(arguments.seed)
        at = sorted(
            rng.choice(
                arguments.trials, size=min(arguments.kills, arguments.trials), replace=False
            ).tolist()
        )
        each = open_study(whole).used().seconds / arguments.trials
        moments = [(number, float(rng.random()) * each) for number in at]
        began, killed = time.monotonic(), 0
        for number, wait in moments:
            process = go_on(config, parts)
            session = time.monotonic()
            # In the middle of this trial, or a little after it: while its result is written or
            # the next is proposed.
            while process.poll() is None and not (parts / "trials" / f"{number:04d}").exists():
                time.sleep(0.005)
            time.sleep(wait)
            if process.poll() is not None:
                print(f"had ended before trial {number}", flush=True)
                continue
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            seconds = time.monotonic() - session
            print(f"killed {seconds:6.1f} s after its start: {state_of(parts)}", flush=True)
        if go_on(config, parts).wait():
            return 1
        print(f"killed {killed} times and resumed: {time.monotonic() - began:.0f} s\n", flush=True)
        return compare(open_study(whole), open_study(parts), killed, arguments.kills)


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start `recsys tune` as a process in a new group."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    command = [sys.executable, "-m", "recsys.cli", "tune", *words, "--quiet"]
    return subprocess.Popen(
        command, start_new_session=True, env=environment, stdout=subprocess.DEVNULL
    )


def go_on(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Resume a study, or begin it if it was killed before it existed."""
    if (folder / "study.json").exists():
        return start(["--resume", str(folder)])
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return start([str(config), "--out", str(folder)])


def state_of(folder: Path) -> str:
    if not (folder / "study.json").exists():
        return "it had not begun"
    states = [trial.state for trial in open_study(folder).trials]
    left = len(list(folder.glob("trials/*/checkpoint.safetensors")))
    return (
        f"{states.count('complete')} trials complete, {states.count('running')} running, "
        f"{left} with a checkpoint"
    )


def essence(study: Study) -> list[tuple[Any, ...]]:
    """Return the trials without times and measurements of the machine."""
    return [
        (
            t.number,
            t.state,
            json.dumps(t.settings),
            t.values,
            dict(t.curve),
            t.origin,
            t.reason,
            t.facts.best_epoch,
        )
        for t in study.trials
    ]


def compare(whole: Study, parts: Study, killed: int, kills: int) -> int:
    """Print both studies and whether they are the same; return the exit code."""
    print("trial  left alone    killed        settings")
    for one, two in zip(whole.trials, parts.trials, strict=False):
        settings = " ".join(
            f"{path.rpartition('.')[2]}={f'{value:.6g}' if isinstance(value, float) else value}"
            for path, value in one.settings.items()
        )
        mark = "" if one.settings == two.settings else "  OTHER SETTINGS"
        print(f"{one.number:>5}  {shown(one.values)}  {shown(two.values)}  {settings}{mark}")
    first, second = essence(whole), essence(parts)
    same = sum(one == two for one, two in zip(first, second, strict=False))
    best = (
        whole.best is not None
        and parts.best is not None
        and (whole.best.number, whole.best.values) == (parts.best.number, parts.best.values)
    )
    text = (whole.folder / "best.toml").read_bytes() == (parts.folder / "best.toml").read_bytes()
    print(
        f"\ntrials: {len(first)} and {len(second)}, {same} equal in settings, values, curves and "
        "states, to the last bit"
    )
    numbers = [study.best and (study.best.number, *study.best.values) for study in (whole, parts)]
    print(f"best: {numbers[0]} and {numbers[1]}")
    holds = first == second and best and text and killed == kills
    print(f"best.toml: {'the same bytes' if text else 'OTHER BYTES'}")
    print(f"killed: {killed} of {kills} times")
    print(f"the same study: {'yes' if holds else 'NO'}")
    return 0 if holds else 1


def shown(values: tuple[float, ...]) -> str:
    """Return the first objective of a trial in ten digits."""
    return f"{values[0]:.10f}" if values else "-".ljust(12)


# Four workers on PostgreSQL.


class Killer:
    """Kill one of this process's workers every few seconds, in any state."""

    def __init__(self, every: float, seed: int) -> None:
        self.every, self.killed = every, 0
        self.rng = np.random.default_rng(seed)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self.over.wait(self.every):
            alive = workers()
            if alive:
                os.kill(int(self.rng.choice(alive)), signal.SIGKILL)
                self.killed += 1


def workers() -> list[int]:
    """Return the process ids of the workers that this process has started."""
    ids = []
    for process in sorted(Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if b"recsys.study.pool_worker" in words and parent == os.getpid():
                ids.append(int(process.name))
    return ids


def postgres(arguments: argparse.Namespace) -> int:
    with serve(tcp=True, fsync=True) as url, tempfile.TemporaryDirectory(prefix="studies-") as name:
        folder = Path(name)
        experiment = tiny(folder, arguments.trials, arguments.epochs)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {url}", flush=True)
        print(
            "workers  killed  trials  complete  failed  begun again  twice  lost  left running  "
            "processes left  trials/min",
            flush=True,
        )
        verdict = True
        for number, (count, killing) in enumerate(
            [(1, False), (arguments.workers, False), (arguments.workers, True)]
        ):
            begun: Counter[int] = Counter()
            ended: Counter[int] = Counter()
            first = last = time.monotonic()

            def watch(
                event: object, begun: Counter[int] = begun, ended: Counter[int] = ended
            ) -> None:
                nonlocal first, last
                if isinstance(event, TrialBegun):
                    first = first if begun else time.monotonic()
                    begun[event.number] += 1
                elif isinstance(event, TrialDone):
                    ended[event.number] += 1
                    last = time.monotonic()

            named = replace(experiment, name=f"tiny{number}")
            killer = Killer(arguments.every, arguments.seed)
            if killing:
                killer.thread.start()
            study = tune(
                named, folder / f"study{number}", storage=url, workers=count, threads=1, watch=watch
            )
            killer.over.set()
            states = Counter(trial.state for trial in study.trials)
            restarted = sum(begun.values()) - len(begun)
            twice = sum(times > 1 for times in ended.values())
            left = len(workers())
            print(
                f"{count:>7}  {killer.killed:>6}  {len(study.trials):>6}  "
                f"{states['complete']:>8}  {states['failed']:>6}  {restarted:>11}  {twice:>5}  "
                f"{states['lost']:>4}  {states['running']:>12}  {left:>14}  "
                f"{60 * len(study.trials) / (last - first):>10.1f}",
                flush=True,
            )
            verdict &= states == {"complete": arguments.trials} and not twice and not left
        print(f"no trial lost, run twice or left behind: {'yes' if verdict else 'NO'}")
        return 0 if verdict else 1


# The cost of a trial besides training.


def overhead(arguments: argparse.Namespace) -> int:
    block = max(1, arguments.trials // 10)
    print(
        f"a trial of {arguments.trials}, {arguments.sampler}: milliseconds besides training and "
        "evaluation, by the clock and of the processor",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="studies-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        experiment = tiny(folder, arguments.trials, 1)
        experiment = replace(experiment, tune=replace(experiment.tune, sampler=arguments.sampler))
        split = data_of(experiment)
        verdict = True
        for storage in arguments.storage:
            url = None
            if storage == "sqlite":
                url = f"sqlite:///{folder / 'trials.db'}"
            elif storage == "postgres":
                url = stack.enter_context(serve(fsync=True))
            clocks, processor = [time.perf_counter()], [time.process_time()]
            training: list[float] = []
            fits: list[float] = [0.0]
            fit = trial.fit

            def timed(*words: Any, fits: list[float] = fits, fit: Any = fit, **more: Any) -> Any:
                began = time.process_time()
                try:
                    return fit(*words, **more)
                finally:
                    fits[0] += time.process_time() - began

            def watch(
                event: object,
                clocks: list[float] = clocks,
                processor: list[float] = processor,
                training: list[float] = training,
                fits: list[float] = fits,
            ) -> None:
                if isinstance(event, DataLoaded):
                    clocks[0], processor[0] = time.perf_counter(), time.process_time()
                elif isinstance(event, TrialDone):
                    clocks.append(time.perf_counter())
                    processor.append(time.process_time() - fits[0])
                    training.append(event.seconds)

            trial.fit = timed
            try:
                tune(experiment, folder / storage, storage=url, split=split, watch=watch)
            finally:
                trial.fit = fit
            wall = 1000 * (np.diff(clocks) - training)
            cpu = 1000 * np.diff(processor)
            print(f"\n{storage}\ntrials        clock  processor", flush=True)
            for start in range(0, len(wall), block):
                part = slice(start, start + block)
                print(
                    f"{start:>4} - {min(start + block, len(wall)) - 1:>4}  "
                    f"{np.mean(wall[part]):>6.1f}  {np.mean(cpu[part]):>9.1f}",
                    flush=True,
                )
            verdict &= float(np.mean(wall[-block:])) < 300
        print(f"\nunder 0.3 s at the end: {'yes' if verdict else 'NO'}")
        return 0 if verdict else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (InputError, Missing) as error:
        sys.exit(f"studies: {error}")
