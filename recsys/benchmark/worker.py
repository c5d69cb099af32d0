"""One worker of a matrix: python -m recsys.benchmark.worker FOLDER [energy].

Tasks come on standard input, a line of JSON each; events go to standard output. At the end of its input it ends, whatever it is at: the process
that began it is gone, and what is on the disk goes on another time.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recsys.benchmark.cell import Task
from recsys.benchmark.scheduler import attempt
from recsys.data.types import Split

__all__ = ["main"]

_INTERRUPTED = 130


def main(folder: str, energy: str = "") -> None:
    """Do tasks until there is nobody to give any."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tasks: queue.Queue[str] = queue.Queue()
    splits: dict[str, Split] = {}

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(_INTERRUPTED)

    def say(event: Mapping[str, Any]) -> None:
        task = event["task"]
        sys.stdout.write(
            json.dumps({**event, "task": [task.data, task.method, task.seed]}, default=str) + "\n"
        )
        sys.stdout.flush()

    threading.Thread(target=listen, daemon=True).start()
    while True:
        task = Task(*json.loads(tasks.get()))
        say(attempt(task, Path(folder), splits, bool(energy), say))


if __name__ == "__main__":
    main(*sys.argv[1:])
