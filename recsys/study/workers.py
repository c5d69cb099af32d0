"""Several workers on one study: processes that each load the data once and take trials until the budget is used.

A worker that is killed leaves a trial whose lock is free; the next one that looks for work takes it up from its checkpoint, and the killed worker is
replaced. A trial that has cost three workers their life is written down as failed. Workers end with the process that began them.

python -m recsys.study.workers reads its task from standard input and writes events to standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from recsys.errors import InputError
from recsys.study.folder import Study, open_study, write_results
from recsys.study.loop import Worker
from recsys.study.storage import hold

__all__ = ["main", "share", "work"]

Watch = Callable[[dict[str, Any]], None]

_LIVES = 3  # workers that one trial may cost
_INTERRUPTED = 130


def share(workers: int, threads: int, number: int, gpus: int, visible: str | None = None) -> dict[str, str]:
    """What the environment of a worker says of threads and GPUs: the cores are shared out, and the GPUs in turn.

    Args:
        workers: how many there are.
        threads: of each; 0 shares the cores out.
        number: of this worker.
        gpus: that can be seen.
        visible: CUDA_VISIBLE_DEVICES as it is.
    """
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    found = {name: str(each) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")}
    if gpus > 1:
        names = [name.strip() for name in visible.split(",")] if visible else [str(gpu) for gpu in range(gpus)]
        found["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    return found


def work(study: Study, workers: int, threads: int, deadline: float | None, watch: Watch) -> None:
    """Let several workers use the budget of a study.

    Raises:
        InputError: what one of them met that is not the fault of a trial's settings; the others are ended.
        RuntimeError: one of them failed for a reason that is ours.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    crew = _Crew(study, {"folder": str(study.folder), "storage": study.url, "deadline": deadline, "parent": os.getpid()})
    environments = [share(workers, threads, number, gpus, os.environ.get("CUDA_VISIBLE_DEVICES")) for number in range(workers)]
    lost: Counter[int | None] = Counter()
    try:
        for number in range(workers):
            crew.hire(number, environments[number])
        while crew.alive:
            number, event = crew.events.get()
            if event is None:
                code, trial = crew.bury(number)
                if code == 0:
                    continue
                if code > 0:
                    raise RuntimeError(f"a worker failed with exit code {code}; what it said stands above")
                lost[trial] += 1
                watch({"event": "worker", "said": f"a worker was killed (signal {-code}) in trial {trial}"})
                if lost[trial] >= _LIVES:
                    if trial is None:
                        raise RuntimeError(f"workers are killed (signal {-code}) before they begin a trial")
                    _give_up(study, trial, f"it cost {_LIVES} workers their life (signal {-code}): out of memory?")
                crew.hire(number, environments[number])
            elif event["event"] == "error":
                raise InputError(event["cause"], place=event["place"], remedy=event["remedy"])
            else:
                if event["event"] == "begun":
                    crew.busy[number] = event["number"]
                    del lost[None]  # they can begin: that others were killed before was from outside
                watch(event)
    finally:
        crew.dismiss()


class _Crew:
    """Processes, and one queue of what they say."""

    def __init__(self, study: Study, task: Mapping[str, Any]) -> None:
        self.study, self.task = study, task
        self.events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self.alive: dict[int, subprocess.Popen[str]] = {}
        self.busy: dict[int, int] = {}

    def hire(self, number: int, environment: Mapping[str, str]) -> None:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys.study.workers"],
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.alive[number] = process
        self.busy.pop(number, None)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(self.task))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it is dead already; its end will be heard of
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for text in lines:
                try:
                    event = json.loads(text)
                except ValueError:
                    continue  # a library that prints, or a line that a kill cut off
                if isinstance(event, dict) and "event" in event:
                    self.events.put((number, event))
        self.events.put((number, None))

    def bury(self, number: int) -> tuple[int, int | None]:
        """Exit code of a worker that has ended, and the trial it was at."""
        return self.alive.pop(number).wait(), self.busy.get(number)

    def dismiss(self) -> None:
        for process in self.alive.values():
            process.terminate()
        for process in self.alive.values():
            process.wait()


def _give_up(study: Study, number: int, reason: str) -> None:
    """Write a trial down as failed that no worker survives."""
    storage, entry = study.storage, study.optuna._study_id
    with hold(study.folder / ".take.lock"):
        trial = next(trial for trial in storage.get_all_trials(entry, deepcopy=False) if trial.number == number)
        if not trial.state.is_finished():
            for key, value in (("reason", reason), ("facts", {})):
                storage.set_trial_user_attr(trial._trial_id, key, value)
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            write_results(study)


class _Orphaned(BaseException):
    """The process that began this one is gone."""


def main() -> int:
    """One worker; the exit code."""
    task = json.loads(sys.stdin.read())

    def say(event: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(event, default=str) + "\n")
        sys.stdout.flush()

    def follow(event: dict[str, Any]) -> None:
        if os.getppid() != task["parent"]:
            raise _Orphaned
        if event["event"] in ("begun", "trial"):
            say(event)

    try:
        import torch

        from recsys.study import material_of

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        study = open_study(task["folder"], storage=task["storage"])
        material = material_of(study.experiment)
        if not material.matches(study.meta["split"]):
            raise InputError("the data have changed since this study began", place=str(study.folder), remedy="restore the data, or start a new study")
        Worker(study, material, deadline=task["deadline"], watch=follow).run()
    except InputError as error:
        say({"event": "error", "cause": error.cause, "place": error.place, "remedy": error.remedy})
        return 2
    except (KeyboardInterrupt, BrokenPipeError, _Orphaned):
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
