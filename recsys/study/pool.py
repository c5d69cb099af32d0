"""Several workers on one study: processes that each load the data once and take trials until the budget is used.

A worker that is killed leaves a trial whose lock is free; the next one that looks for work takes it up from its checkpoint, and the killed worker is
replaced. A trial that has cost three workers their life is written down as failed. Workers end with the process that began them.

python -m recsys.study.pool reads its task from standard input and writes events to standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from optuna.trial import TrialState

from recsys.errors import InputError
from recsys.files import hold_lock
from recsys.study.artifact import Study, open_study, write_results
from recsys.study.worker import Worker
from recsys.worker_pool import WorkerPool

__all__ = ["main", "work"]

Watch = Callable[[dict[str, Any]], None]

_LIVES = 3  # workers that one trial may cost
_INTERRUPTED = 130


def work(study: Study, workers: int, threads: int, deadline: float | None, watch: Watch) -> None:
    """Let several workers use the budget of a study.

    Raises:
        InputError: what one of them met that is not the fault of a trial's settings; the others are ended.
        RuntimeError: one of them failed for a reason that is ours.
    """
    crew = WorkerPool("recsys.study.pool", workers=workers, threads=threads)
    task = {
        "folder": str(study.folder),
        "storage": study.url,
        "deadline": deadline,
        "parent": os.getpid(),
    }
    busy: dict[int, int] = {}  # the trial each is at
    lost: Counter[int | None] = Counter()

    def hire(number: int) -> None:
        busy.pop(number, None)
        crew.start(number)
        crew.send(number, task, last=True)

    try:
        for number in range(workers):
            hire(number)
        while crew.alive:
            number, event = crew.events.get()
            if event is None:
                code, trial = crew.reap(number), busy.get(number)
                if code == 0:
                    continue
                if code > 0:
                    raise RuntimeError(
                        f"a worker failed with exit code {code}; what it said stands above"
                    )
                lost[trial] += 1
                watch(
                    {
                        "event": "worker",
                        "said": f"a worker was killed (signal {-code}) in trial {trial}",
                    }
                )
                if lost[trial] >= _LIVES:
                    if trial is None:
                        raise RuntimeError(
                            f"workers are killed (signal {-code}) before they begin a trial"
                        )
                    _give_up(
                        study,
                        trial,
                        f"it cost {_LIVES} workers their life (signal {-code}): out of memory?",
                    )
                hire(number)
            elif event["event"] == "error":
                raise InputError(event["cause"], place=event["place"], remedy=event["remedy"])
            else:
                if event["event"] == "begun":
                    busy[number] = event["number"]
                    del lost[
                        None
                    ]  # they can begin: that others were killed before was from outside
                watch(event)
    finally:
        crew.terminate()


def _give_up(study: Study, number: int, reason: str) -> None:
    """Write a trial down as failed that no worker survives."""
    storage, entry = study.storage, study.optuna._study_id
    with hold_lock(study.folder / ".take.lock"):
        trial = next(
            trial
            for trial in storage.get_all_trials(entry, deepcopy=False)
            if trial.number == number
        )
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

        from recsys.study.tuning import train_valid_of

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        study = open_study(task["folder"], storage=task["storage"])
        material = train_valid_of(study.experiment)
        if not material.matches(study.meta["split"]):
            raise InputError(
                "the data have changed since this study began",
                place=str(study.folder),
                remedy="restore the data, or start a new study",
            )
        Worker(study, material, deadline=task["deadline"], watch=follow).run()
    except InputError as error:
        say({"event": "error", "cause": error.cause, "place": error.place, "remedy": error.remedy})
        return 2
    except (KeyboardInterrupt, BrokenPipeError, _Orphaned):
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
