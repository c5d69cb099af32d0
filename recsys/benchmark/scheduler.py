"""Who does the cells: this process, or several workers, each on one cell at a time.

A worker that is killed is replaced, and its cell goes on where it was; a task that has cost two workers their life is left as failed. Workers end
with the process that began them.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from recsys.benchmark.cell import Task, do
from recsys.benchmark.plan import Plan
from recsys.benchmark.results import gather, write_result
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.files import LOCK, Lock, write_json
from recsys.study.progress import TrialDone
from recsys.worker_pool import WorkerPool

__all__ = ["attempt", "work"]

Watch = Callable[[dict[str, Any]], None]

_LIVES = 2  # workers that one task may cost


def work(
    plan: Plan,
    folder: Path,
    splits: dict[str, Split],
    workers: int,
    threads: int,
    todo: Callable[[Mapping[Task, str]], list[Task]],
    tell: Watch,
) -> dict[tuple[str, str], str]:
    """Do every task there is; what fails is told and does not stop the others.

    Args:
        splits: data sets that are loaded already, for a single worker.
        todo: what can be done now, given what was tried.

    Returns:
        By data set and method, why a cell failed.
    """
    tried: dict[Task, str] = {}
    failed: dict[tuple[str, str], str] = {}
    crew = _Crew(folder, plan.matrix.energy, workers, threads) if workers > 1 else None
    if crew is None:
        torch.set_num_threads(threads)
    pace, began, seed = _Pace(plan, workers), {}, 0
    try:
        while True:
            open_tasks = [task for task in todo(tried) if (task.data, task.method) not in failed]
            busy = [task for task, word in tried.items() if word == "taken"]
            # A cell is in one pair of hands.
            free = [
                task
                for task in open_tasks
                if all((task.data, task.method) != (each.data, each.method) for each in busy)
            ]
            if free and len(busy) < workers:
                task = free[0]
                if task.seed > seed:
                    if seed:  # all of one seed are begun: a table of what is finished
                        _tables(plan, folder, failed, tell)
                    seed = task.seed
                tried[task], began[task] = "taken", time.perf_counter()
                tell({"event": "begun", "task": task})
                if crew is None:
                    event = attempt(task, folder, splits, plan.matrix.energy, tell)
                else:
                    crew.give(task)
                    continue
            elif busy:
                assert crew is not None
                event = crew.hear()
            else:
                return failed
            if event["event"] == "trial":
                tell(event)
                continue
            task = event["task"]
            tried[task] = event["event"]
            seconds = time.perf_counter() - began[task]
            if event["event"] == "failed":
                failed[task.data, task.method] = event["reason"]
            pace.note(task, seconds)
            left = pace.left(tried, failed, todo(tried))
            tell({**event, "seconds": seconds, "left": left})
    finally:
        if crew is not None:
            crew.terminate()


def _tables(plan: Plan, folder: Path, failed: dict[tuple[str, str], str], tell: Watch) -> None:
    result = gather(plan, folder)
    if result.tables:
        write_result(result, folder)
        tell({"event": "written", "folder": str(folder)})


class _Pace:
    """How long things take, to say how long the rest will."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.spent: dict[tuple[str, bool], list[float]] = {}

    def note(self, task: Task, seconds: float) -> None:
        self.spent.setdefault((task.method, task.seed > 0), []).append(seconds)

    def left(
        self, tried: Mapping[Task, str], failed: Mapping[tuple[str, str], str], ready: list[Task]
    ) -> float | None:
        """Seconds, from the means of what the same methods took, else of all methods; None where nothing is known yet."""
        open_ones = {task for task in ready if (task.data, task.method) not in failed}
        open_ones |= {task for task, word in tried.items() if word == "taken"}
        studies = [task for task in open_ones if not task.seed]
        later = [Task(task.data, task.method, seed) for task in studies for seed in self.plan.seeds]
        total = 0.0
        for task in [*open_ones, *later]:
            known = self._mean(task)
            if known is None:
                return None
            total += known
        return total / self.workers

    def _mean(self, task: Task) -> float | None:
        run = task.seed > 0
        own = self.spent.get((task.method, run), [])
        if not own and run:  # a run takes about as long as a trial
            own = [
                seconds / self.plan.matrix.trials
                for seconds in self.spent.get((task.method, False), [])
            ]
        every = own or [
            seconds
            for (_, kind), several in self.spent.items()
            if kind == run
            for seconds in several
        ]
        if not every and run:
            every = [
                seconds / self.plan.matrix.trials
                for several in self.spent.values()
                for seconds in several
            ]
        return sum(every) / len(every) if every else None


def _place(folder: Path, task: Task) -> Path:
    return folder / "cells" / task.data / task.method


def attempt(
    task: Task, folder: Path, splits: dict[str, Split], energy: bool, tell: Watch
) -> dict[str, Any]:
    """Do a task in this process; the event it ends with."""

    def follow(event: object) -> None:
        if isinstance(event, TrialDone):
            tell(
                {
                    "event": "trial",
                    "task": task,
                    "number": event.number,
                    "state": event.state,
                    "values": dict(event.values),
                }
            )

    place = _place(folder, task)
    lock = Lock(place / LOCK)
    lock.take(
        wait=True
    )  # `board` may have it for a moment, and a worker that was left over until it ends
    try:
        do(task, place, splits, energy=energy, watch=follow)
    except InputError as error:
        return {"event": "failed", "task": task, "reason": str(error)}
    except Exception as error:
        # Whatever one method does wrong, the others are not to suffer from it; the whole story is kept with the cell.
        (place / "failed.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return {"event": "failed", "task": task, "reason": f"{type(error).__name__}: {error}"}
    finally:
        lock.free()
    return {"event": "done", "task": task}


class _Crew:
    """Workers, and the cell that each is at."""

    def __init__(self, folder: Path, energy: bool, workers: int, threads: int) -> None:
        self.folder = folder
        self.processes = WorkerPool(
            "recsys.benchmark.worker",
            [str(folder), "energy" if energy else ""],
            workers=workers,
            threads=threads,
        )
        self.busy: dict[int, Task] = {}
        self.lost: Counter[Task] = Counter()

    def give(self, task: Task) -> None:
        """Let a free worker do a task."""
        number = next(number for number in range(self.processes.workers) if number not in self.busy)
        if number not in self.processes.alive:
            self.processes.start(number)
        self.busy[number] = task
        self.processes.send(number, [task.data, task.method, task.seed])

    def hear(self) -> dict[str, Any]:
        """The next thing a worker says of its task."""
        while True:
            number, event = self.processes.events.get()
            if event is not None:
                task = Task(*event["task"])
                if event["event"] != "trial":
                    self.busy.pop(number, None)
                return {**event, "task": task}
            code = self.processes.reap(number)
            lost = self.busy.pop(number, None)
            if lost is None:
                continue
            self.lost[lost] += 1
            if self.lost[lost] < _LIVES:
                self.give(lost)
                continue
            reason = f"it cost {_LIVES} workers their life (exit code {code}): out of memory?"
            write_json(
                _place(self.folder, lost) / "failed.json", {"seed": lost.seed, "reason": reason}
            )
            return {"event": "failed", "task": lost, "reason": reason}

    def terminate(self) -> None:
        """End all workers; what they were at goes on another time."""
        self.processes.terminate()
