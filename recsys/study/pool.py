"""Several workers on one study: processes that each load the data and run trials.

A killed worker leaves a trial whose lock is free. The next worker that looks for a trial resumes it
from its checkpoint, and a new process replaces the killed one. A trial that has killed three
workers is recorded as failed.
"""

from __future__ import annotations

import os
from collections import Counter

from optuna.trial import TrialState

from recsys.files import hold_lock
from recsys.study.artifact import Study
from recsys.study.attributes import Facts, TrialAttributes
from recsys.study.optuna_private import study_id, trial_id
from recsys.study.pool_task import PoolTask, error_from_json, is_error
from recsys.study.progress import TrialBegun, Watch, WorkerLost, event_from_json
from recsys.study.results import write_results
from recsys.study.worker import TAKE_LOCK
from recsys.worker_pool import WorkerPool

__all__ = ["run_pool"]

_LIVES = 3  # workers that one trial may kill


def run_pool(
    study: Study, workers: int, threads: int, deadline: float | None, watch: Watch
) -> None:
    """Let several workers use the budget of a study.

    Args:
        study: the study, which must have begun.
        workers: number of processes.
        threads: CPU threads per process; 0 divides the cores evenly.
        deadline: no trial begins after this time (as `time.time`); None: no limit.
        watch: called with the beginning and the end of each trial, and with each lost worker.

    Raises:
        InputError: an error in one worker that the settings of a trial did not cause; the other
            workers are terminated.
        RuntimeError: a worker failed because of a defect, or workers are killed at once.
    """
    pool = WorkerPool("recsys.study.pool_worker", workers=workers, threads=threads)
    task = PoolTask(
        folder=str(study.folder), storage=study.url, deadline=deadline, parent=os.getpid()
    )
    running: dict[int, int] = {}  # number of the trial of each worker
    lost: Counter[int | None] = Counter()  # workers lost by trial; None: before any trial

    def start(worker: int) -> None:
        running.pop(worker, None)
        pool.start(worker)
        pool.send(worker, task.to_json(), last=True)

    try:
        for worker in range(workers):
            start(worker)
        while pool.alive:
            worker, plain = pool.events.get()
            if plain is None:
                code, trial = pool.reap(worker), running.get(worker)
                if code == 0:
                    continue
                if code > 0:
                    raise RuntimeError(
                        f"a worker failed with exit code {code}; its error is printed above"
                    )
                lost[trial] += 1
                watch(WorkerLost(f"a worker was killed (signal {-code}) in trial {trial}"))
                if lost[trial] >= _LIVES:
                    _give_up(study, trial, -code)
                start(worker)
            elif is_error(plain):
                raise error_from_json(plain)
            else:
                event = event_from_json(plain)
                if isinstance(event, TrialBegun):
                    running[worker] = event.number
                    del lost[None]  # workers can begin, so earlier kills had another cause
                watch(event)
    finally:
        pool.terminate()


def _give_up(study: Study, number: int | None, signal: int) -> None:
    """Record a trial that no worker survives as failed."""
    if number is None:
        raise RuntimeError(f"workers are killed (signal {signal}) before they begin a trial")
    storage = study.storage
    with hold_lock(study.folder / TAKE_LOCK):
        trial = next(
            trial
            for trial in storage.get_all_trials(study_id(study.optuna), deepcopy=False)
            if trial.number == number
        )
        if trial.state.is_finished():
            return
        reason = f"it cost {_LIVES} workers their life (signal {signal}): out of memory?"
        TrialAttributes(facts=Facts(), reason=reason).write(storage, trial_id(trial))
        storage.set_trial_state_values(trial_id(trial), TrialState.FAIL)
        write_results(study)
