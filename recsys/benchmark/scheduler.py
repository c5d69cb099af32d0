"""Distribute the tasks of a benchmark: to this process, or to several workers.

Each worker is on one cell at a time. A worker that dies is replaced and its task resumed; a task
that has cost two workers their lives counts as failed. Workers end with the process that started
them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch

from recsys.benchmark.cell import cell_folder, write_failure
from recsys.benchmark.gathering import gather
from recsys.benchmark.plan import Plan
from recsys.benchmark.progress import (
    TablesWritten,
    Task,
    TaskBegun,
    TaskDone,
    TaskFailed,
    TrialDone,
    Watch,
    WorkerEvent,
    from_json,
)
from recsys.benchmark.results import write_result
from recsys.benchmark.task import WorkOptions, attempt
from recsys.data.types import Split
from recsys.worker_pool import WorkerPool

__all__ = ["work"]

Cell = tuple[str, str]
TaskState = Literal["taken", "done", "failed"]

_LIVES = 2  # workers that one task may cost


def work(
    plan: Plan,
    options: WorkOptions,
    splits: dict[str, Split],
    workers: int,
    threads: int,
    open_tasks: Callable[[Mapping[Task, str]], list[Task]],
    watch: Watch,
) -> dict[Cell, str]:
    """Do every open task; a failure is reported and does not stop the others.

    Args:
        plan: the plan.
        options: folder and measurements.
        splits: data sets that are loaded already, for a single worker.
        workers: processes at the same time; 1 works in this process.
        threads: CPU threads of each process.
        open_tasks: what can be done now, given the tasks that were tried.
        watch: called with each progress event.

    Returns:
        By data set and method, why a cell failed.
    """
    if workers > 1:
        pool = _Workers(options, workers, threads)
        try:
            return _Schedule(plan, options, workers, open_tasks, watch).run(pool)
        finally:
            pool.terminate()
    torch.set_num_threads(threads)
    here = _ThisProcess(options, splits, watch)
    return _Schedule(plan, options, workers, open_tasks, watch).run(here)


class _Schedule:
    """The order of tasks, and what came of them."""

    def __init__(
        self,
        plan: Plan,
        options: WorkOptions,
        workers: int,
        open_tasks: Callable[[Mapping[Task, str]], list[Task]],
        watch: Watch,
    ) -> None:
        self.plan, self.options = plan, options
        self.workers, self.open_tasks = workers, open_tasks
        self.watch = watch
        self.tried: dict[Task, TaskState] = {}
        self.failed: dict[Cell, str] = {}
        self.started: dict[Task, float] = {}
        self.pace = _Pace(plan, workers)
        self.seed = 0

    def run(self, pool: _Workers | _ThisProcess) -> dict[Cell, str]:
        """Give tasks to workers until nothing is left; return why cells failed."""
        while True:
            busy = [task for task, state in self.tried.items() if state == "taken"]
            task = self._next(busy)
            if task is not None:
                self._begin(task)
                pool.give(task)
            elif busy:
                self._note(pool.next_event())
            else:
                return self.failed

    def _next(self, busy: list[Task]) -> Task | None:
        """Return the next task for a free worker; only one worker is in a cell."""
        if len(busy) >= self.workers:
            return None
        taken = {(task.data, task.method) for task in busy} | set(self.failed)
        tasks = self.open_tasks(self.tried)
        return next((task for task in tasks if (task.data, task.method) not in taken), None)

    def _begin(self, task: Task) -> None:
        if task.seed > self.seed:
            if self.seed:  # all runs of one seed have begun: write a table of what is finished
                self._write_tables()
            self.seed = task.seed
        self.tried[task], self.started[task] = "taken", time.perf_counter()
        self.watch(TaskBegun(task))

    def _note(self, event: WorkerEvent) -> None:
        if isinstance(event, TrialDone):
            self.watch(event)
            return
        task = event.task
        seconds = time.perf_counter() - self.started[task]
        self.tried[task] = "done"
        if isinstance(event, TaskFailed):
            self.tried[task] = "failed"
            self.failed[task.data, task.method] = event.reason
        self.pace.note(task, seconds)
        left = self.pace.left(self.tried, self.failed, self.open_tasks(self.tried))
        self.watch(replace(event, seconds=seconds, left=left))

    def _write_tables(self) -> None:
        result = gather(self.plan, self.options.folder)
        if result.tables:
            write_result(result, self.options.folder)
            self.watch(TablesWritten(self.options.folder))


class _ThisProcess:
    """A worker that is this process: it does a task when its event is asked for."""

    def __init__(self, options: WorkOptions, splits: dict[str, Split], watch: Watch) -> None:
        self.options, self.splits = options, splits
        self.watch = watch
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        """Take a task."""
        self.task = task

    def next_event(self) -> TaskDone | TaskFailed:
        """Do the task; its trials are reported directly."""
        assert self.task is not None
        return attempt(self.task, self.options, self.splits, self.watch)


class _Workers:
    """Worker processes, and the task of each."""

    def __init__(self, options: WorkOptions, workers: int, threads: int) -> None:
        self.options = options
        self.processes = WorkerPool(
            "recsys.benchmark.worker", [options.to_json()], workers=workers, threads=threads
        )
        self.busy: dict[int, Task] = {}
        self.lost: Counter[Task] = Counter()

    def give(self, task: Task) -> None:
        """Give a task to a free worker."""
        numbers = range(self.processes.workers)
        number = next(number for number in numbers if number not in self.busy)
        if number not in self.processes.alive:
            self.processes.start(number)
        self.busy[number] = task
        self.processes.send(number, [task.data, task.method, task.seed])

    def next_event(self) -> WorkerEvent:
        """Wait for the next event of a worker; a worker that died is replaced."""
        while True:
            number, line = self.processes.events.get()
            if line is not None:
                event = from_json(line)
                if not isinstance(event, TrialDone):
                    self.busy.pop(number, None)
                return event
            code = self.processes.reap(number)
            task = self.busy.pop(number, None)
            if task is None:
                continue
            self.lost[task] += 1
            if self.lost[task] < _LIVES:
                self.give(task)
                continue
            reason = f"{_LIVES} workers died at it (exit code {code}): out of memory?"
            folder = cell_folder(self.options.folder, task.data, task.method)
            write_failure(folder, task, reason)
            return TaskFailed(task, reason)

    def terminate(self) -> None:
        """End all workers; unfinished tasks are resumed by the next command."""
        self.processes.terminate()


class _Pace:
    """Times of finished tasks, to estimate how long the rest takes."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.spent: dict[tuple[str, bool], list[float]] = {}  # by method, and whether it is a run

    def note(self, task: Task, seconds: float) -> None:
        """Keep the time of a task."""
        self.spent.setdefault((task.method, task.seed > 0), []).append(seconds)

    def left(
        self, tried: Mapping[Task, str], failed: Mapping[Cell, str], ready: list[Task]
    ) -> float | None:
        """Return the estimated seconds until all is finished; None while nothing is known.

        A task is expected to take the mean of the same method's tasks, else that of all methods.

        Args:
            tried: state of each task of this command.
            failed: cells that failed.
            ready: tasks that can be done now.
        """
        tasks = {task for task in ready if (task.data, task.method) not in failed}
        tasks |= {task for task, state in tried.items() if state == "taken"}
        searches = [task for task in tasks if not task.seed]
        later = [
            Task(task.data, task.method, seed) for task in searches for seed in self.plan.seeds
        ]
        total = 0.0
        for task in [*tasks, *later]:
            expected = self._expected(task)
            if expected is None:
                return None
            total += expected
        return total / self.workers

    def _expected(self, task: Task) -> float | None:
        is_run = task.seed > 0
        times = self.spent.get((task.method, is_run), [])
        if not times and is_run:  # a run takes about as long as a trial
            times = self._per_trial(self.spent.get((task.method, False), []))
        if not times:
            kinds = [several for (_, kind), several in self.spent.items() if kind == is_run]
            times = [seconds for several in kinds for seconds in several]
        if not times and is_run:
            every = [seconds for several in self.spent.values() for seconds in several]
            times = self._per_trial(every)
        return sum(times) / len(times) if times else None

    def _per_trial(self, searches: list[float]) -> list[float]:
        return [seconds / self.plan.settings.trials for seconds in searches]
