"""One worker process of a benchmark: python -m recsys.benchmark.worker OPTIONS.

Tasks arrive on standard input, one line of JSON each; events go to standard output. At the end of
its input the worker exits, even in the middle of a task: the command that started it is gone, and
what is on the disk is resumed another time.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading

import torch

from recsys.benchmark.progress import Task, WorkerEvent, to_json
from recsys.benchmark.task import WorkOptions, attempt
from recsys.data.types import Split

__all__ = ["main"]

_INTERRUPTED = 130


def main(options: str) -> None:
    """Do tasks until the input ends.

    Args:
        options: `WorkOptions` as JSON.
    """
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    lines: queue.Queue[str] = queue.Queue()
    splits: dict[str, Split] = {}

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(_INTERRUPTED)

    def send(event: WorkerEvent) -> None:
        sys.stdout.write(json.dumps(to_json(event), default=str) + "\n")
        sys.stdout.flush()

    threading.Thread(target=listen, daemon=True).start()
    while True:
        task = Task(*json.loads(lines.get()))
        send(attempt(task, WorkOptions.from_json(options), splits, send))


if __name__ == "__main__":
    main(*sys.argv[1:])
