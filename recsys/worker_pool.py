"""Processes of one module, which are told things on their standard input and say events on their standard output, a line of JSON each."""

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


def share(
    workers: int, threads: int, number: int, gpus: int, visible: str | None = None
) -> dict[str, str]:
    """What the environment of a process says of threads and GPUs: the cores are shared out, and the GPUs in turn.

    Args:
        workers: how many there are.
        threads: of each; 0 shares the cores out.
        number: of this process.
        gpus: that can be seen.
        visible: CUDA_VISIBLE_DEVICES as it is.
    """
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    found = {
        name: str(each)
        for name in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "POLARS_MAX_THREADS",
        )
    }
    if gpus > 1:
        names = (
            [name.strip() for name in visible.split(",")]
            if visible
            else [str(gpu) for gpu in range(gpus)]
        )
        found["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    return found


class WorkerPool:
    """Up to a number of processes of `python -m module`, and one queue of what they say.

    Args:
        module: what each runs.
        arguments: what it is given on its command line.
        workers: how many there will be, for the sharing of cores.
        threads: of each; 0 shares the cores out.
    """

    def __init__(
        self, module: str, arguments: Sequence[str] = (), *, workers: int, threads: int
    ) -> None:
        self.command = [sys.executable, "-m", module, *arguments]
        self.workers, self.threads = workers, threads
        self.events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        """Number of a process and what it said; None at its end."""
        self.alive: dict[int, subprocess.Popen[str]] = {}

    def start(self, number: int) -> None:
        """Begin a process."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        environment = share(
            self.workers, self.threads, number, gpus, os.environ.get("CUDA_VISIBLE_DEVICES")
        )
        path = os.pathsep.join(
            [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        process = subprocess.Popen(
            self.command,
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.alive[number] = process
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def send(self, number: int, what: Any, *, last: bool = False) -> None:
        """Say something to a process; `last` closes its input."""
        pipe = self.alive[number].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except BrokenPipeError:  # it is dead already; its end will be heard of
            return
        if last:
            pipe.close()

    def reap(self, number: int) -> int:
        """Exit code of a process that has ended."""
        process = self.alive.pop(number)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what it did not hear is thrown away
                process.stdin.close()
        return process.wait()

    def terminate(self) -> None:
        """End all that are alive."""
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
                    continue  # a library that prints, or a line that a kill cut off
                if isinstance(event, dict) and "event" in event:
                    self.events.put((number, event))
        self.events.put((number, None))
