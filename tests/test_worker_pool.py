"""Worker processes: tasks arrive, events come back, and the end of a worker is reported."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.worker_pool import WorkerPool, share

ECHO = """
import json, sys
print("a library that prints")
print("[1, 2]")
for line in sys.stdin:
    what = json.loads(line)
    if what == "die":
        sys.exit(7)
    print(json.dumps({"event": "heard", "what": what, "argument": sys.argv[1]}), flush=True)
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    (tmp_path / "echo_of_tests.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    processes = WorkerPool("echo_of_tests", ["given"], workers=2, threads=1)
    yield processes
    processes.terminate()


def test_what_is_told_and_said(echo: WorkerPool):
    for number in (0, 1):
        echo.start(number)
        echo.send(number, {"to": number}, last=number == 1)
    said = [echo.events.get(timeout=60) for _ in range(3)]
    for number in (0, 1):
        assert (number, {"event": "heard", "what": {"to": number}, "argument": "given"}) in said
    assert (1, None) in said  # its input is closed, so it has ended
    assert echo.reap(1) == 0
    assert list(echo.alive) == [0]
    with pytest.raises(queue.Empty):
        echo.events.get_nowait()


def test_an_end_is_heard_of(echo: WorkerPool):
    echo.start(0)
    echo.send(0, "die")
    assert echo.events.get(timeout=60) == (0, None)
    echo.send(0, "too late")  # no error: the process has ended
    assert echo.reap(0) == 7
    echo.start(0)
    os.kill(echo.alive[0].pid, signal.SIGKILL)
    assert echo.events.get(timeout=60) == (0, None)
    assert echo.reap(0) == -signal.SIGKILL


def test_dismissed_are_gone(echo: WorkerPool):
    for number in (0, 1):
        echo.start(number)
    several = list(echo.alive.values())
    echo.terminate()
    assert [process.returncode for process in several] == [-signal.SIGTERM] * 2
    assert not echo.alive


def test_cores_and_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert share(2, 0, 0, gpus=0)["OMP_NUM_THREADS"] == "4"
    assert share(16, 0, 0, gpus=0)["POLARS_MAX_THREADS"] == "1"
    assert share(2, 3, 1, gpus=1) == dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "3"
    )
    assert [share(3, 1, number, gpus=2)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == [
        "0",
        "1",
        "0",
    ]
    assert share(2, 1, 1, gpus=2, visible="5, 7")["CUDA_VISIBLE_DEVICES"] == "7"
    assert sys.executable == WorkerPool("nothing", workers=1, threads=1).command[0]
