"""The process of one worker in a pool.

python -m recsys.study.pool_worker reads its task from standard input and writes events to standard
output, a line of JSON each. It ends if the process that started it ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch

from recsys.errors import InputError
from recsys.study.artifact import open_study
from recsys.study.pool_task import PoolTask, error_to_json
from recsys.study.progress import Event, TrialBegun, TrialDone, event_to_json
from recsys.study.train_valid import train_valid_of
from recsys.study.worker import Worker
from recsys.training.progress import Event as TrainingEvent

__all__ = ["main"]

_INTERRUPTED = 130


class _Orphaned(BaseException):
    """The process that started this one has ended."""


def main() -> int:
    """Run one worker, and return the exit code."""
    task = PoolTask.from_json(json.loads(sys.stdin.read()))

    def follow(event: Event | TrainingEvent) -> None:
        if os.getppid() != task.parent:
            raise _Orphaned
        if isinstance(event, TrialBegun | TrialDone):
            _write_line(event_to_json(event))

    try:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        study = open_study(task.folder, storage=task.storage)
        material = train_valid_of(study.experiment)
        material.require_match(study.meta.split, str(study.folder))
        Worker(study, material, deadline=task.deadline, watch=follow).run()
    except InputError as error:
        _write_line(error_to_json(error))
        return 2
    except (KeyboardInterrupt, BrokenPipeError, _Orphaned):
        return _INTERRUPTED
    return 0


def _write_line(plain: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(plain, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
