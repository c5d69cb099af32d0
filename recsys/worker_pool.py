"""A pool of worker processes that exchange lines of JSON.

Each worker runs `python -m module`. It reads its tasks from standard input and writes its events to
standard output, one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["WorkerPool", "share"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def share(
    workers: int, threads: int, number: int, gpus: int, visible: str | None = None
) -> dict[str, str]:
    """Return the environment variables that give one worker its share of CPU cores and GPUs.

    CPU cores are divided evenly. GPUs are assigned round-robin.

    Args:
        workers: number of workers.
        threads: CPU threads per worker; 0 divides the cores evenly.
        number: number of this worker, from 0.
        gpus: number of visible GPUs.
        visible: current value of CUDA_VISIBLE_DEVICES, if it is set.
    """
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    variables = dict.fromkeys(_THREAD_VARIABLES, str(each))
    if gpus > 1:
        names = [str(gpu) for gpu in range(gpus)]
        if visible:
            names = [name.strip() for name in visible.split(",")]
        variables["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    return variables


class WorkerPool:
    """Worker processes of one module, and a single queue of their events.

    Args:
        module: the module that each worker runs.
        arguments: its command-line arguments.
        workers: number of workers; decides each worker's share of the cores.
        threads: CPU threads per worker; 0 divides the cores evenly.
    """

    def __init__(
        self, module: str, arguments: Sequence[str] = (), *, workers: int, threads: int
    ) -> None:
        self.command = [sys.executable, "-m", module, *arguments]
        self.workers = workers
        self.threads = threads
        self.events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        """Worker number and event, as plain JSON; None when the worker has ended."""
        self.alive: dict[int, subprocess.Popen[str]] = {}

    def start(self, number: int) -> None:
        """Start the worker with this number."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        variables = share(
            self.workers, self.threads, number, gpus, os.environ.get("CUDA_VISIBLE_DEVICES")
        )
        path = os.pathsep.join(
            [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        process = subprocess.Popen(
            self.command,
            env={**os.environ, **variables, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.alive[number] = process
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def send(self, number: int, what: Any, *, last: bool = False) -> None:
        """Send a JSON value to a worker; `last` then closes its standard input."""
        pipe = self.alive[number].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except BrokenPipeError:  # the worker is dead; its end will arrive in the queue
            return
        if last:
            pipe.close()

    def reap(self, number: int) -> int:
        """Remove a worker that has ended, and return its exit code."""
        process = self.alive.pop(number)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # input that it never read is discarded
                process.stdin.close()
        return process.wait()

    def terminate(self) -> None:
        """Terminate all workers and wait for their end."""
        for process in self.alive.values():
            process.terminate()
        for number in list(self.alive):
            self.reap(number)

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for text in lines:
                try:
                    event = json.loads(text)
                except ValueError:
                    continue  # output of a library, or a line that a kill cut off
                if isinstance(event, dict) and "event" in event:
                    self.events.put((number, event))
        self.events.put((number, None))
