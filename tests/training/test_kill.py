"""A run that is killed at any moment and resumed ends with the bytes of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

METHODS = {
    "mf": 'sampler = { negatives = 2 }\nloss = { kind = "softmax" }',
    "lightgcn": "layers = 2",
    "cml": "dim = 16",
    "gru4rec": 'dim = 16\nlength = 10\nsampler = { pool = "shared", negatives = 32 }',
    "bert4rec": "dim = 16\nlength = 10",
    "sasrec": 'dim = 16\nlength = 10\nsampler = { pool = "shared", negatives = 32 }',
}
# Long enough that a kill falls into every phase: start, training, evaluation, refit, writing.
CONFIG = """
refit = {refit}
[data]
path = "{data}"
user = "user"
item = "item"
[model]
name = "{method}"
{settings}
[train]
epochs = 12
batch_size = 128
patience = 4
lr = 0.01
rows = "{rows}"
checkpoint_seconds = {every}
device = "cpu"
[evaluate]
metrics = ["recall@10", "ndcg@10", "coverage@10"]
monitor = "ndcg@10"
"""


def write_data(folder: Path) -> Path:
    rng = np.random.default_rng(5)
    taste = rng.integers(4, size=300)
    user = np.repeat(np.arange(300), 25)
    item = np.where(
        rng.random(len(user)) < 0.8,
        taste[user] * 50 + rng.integers(50, size=len(user)),
        rng.integers(200, size=len(user)),
    )
    path = folder / "log.csv"
    pl.DataFrame({"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item]}).write_csv(path)
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "recsys.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def what_must_be_equal(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the result: the scorer, all numbers of all users, and the history.

    The history is taken without its times.
    """
    files = {
        name: (folder / name).read_bytes()
        for name in (
            "scorer.safetensors",
            "users.parquet",
            "items.parquet",
            "seen.parquet",
            "config.toml",
        )
    }
    for part in ("valid", "test"):
        files[f"{part} per user"] = (folder / part / "per_user.parquet").read_bytes()
    for fit in ("fit", "refit"):
        path = folder / fit / "history.jsonl"
        if path.exists():
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            timeless = [{k: v for k, v in entry.items() if "second" not in k} for entry in entries]
            files[f"{fit} history"] = json.dumps(timeless).encode()
    return files


def kill_until_done(
    config: Path, folder: Path, moments: random.Random, longest: float, kills: int
) -> int:
    """Start, kill after a random time, resume, kill ... at most `kills` times, then let it finish.

    Returns:
        How many kills hit a running process.
    """
    hit = 0
    for attempt in range(kills + 1):
        begun = (folder / "run.json").exists()
        arguments = (
            ["run", "--resume", str(folder), "-q"]
            if begun
            else ["run", str(config), "--out", str(folder), "-q"]
        )
        if folder.exists() and not begun:  # killed before the first file was whole
            for left in folder.iterdir():
                left.unlink()
        process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if attempt < kills:
            time.sleep(moments.uniform(0.0, longest))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                hit += 1
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        if process.returncode == 0:
            break
    return hit


def check_method(
    tmp_path: Path,
    method: str,
    kills: int,
    rows: str = "touched",
    refit: bool = True,
    every: float = 0.0,
) -> None:
    data = write_data(tmp_path)
    config = tmp_path / f"{method}.toml"
    config.write_text(
        CONFIG.format(
            data=data,
            method=method,
            settings=METHODS[method],
            refit=str(refit).lower(),
            rows=rows,
            every=every,
        )
    )
    began = time.monotonic()
    subprocess.run(
        command("run", str(config), "--out", str(tmp_path / "whole"), "-q"),
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    longest = time.monotonic() - began
    whole, moments, hit, tries = what_must_be_equal(tmp_path / "whole"), random.Random(method), 0, 0
    while (
        hit < kills
    ):  # a run that is near its end may be done before it is killed; then another one is begun
        tries += 1
        hit += kill_until_done(config, tmp_path / f"killed{tries}", moments, longest, kills - hit)
        killed = what_must_be_equal(tmp_path / f"killed{tries}")
        assert whole.keys() == killed.keys()
        for name in whole:
            assert whole[name] == killed[name], f"{name} differs after {hit} kills"


def test_two_kills_leave_no_trace(tmp_path: Path) -> None:
    check_method(tmp_path, "mf", kills=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rows", "every"),
    [
        ("mf", "touched", 0.0),
        ("mf", "dense", 0.2),
        ("cml", "touched", 0.0),
        ("lightgcn", "dense", 0.0),
        ("lightgcn", "dense", 0.2),
        ("sasrec", "touched", 0.0),
        ("sasrec", "dense", 0.2),
        ("gru4rec", "touched", 0.0),
        ("bert4rec", "dense", 0.0),
    ],
)
def test_many_kills_leave_no_trace(tmp_path: Path, method: str, rows: str, every: float) -> None:
    check_method(tmp_path, method, kills=20, rows=rows, every=every)
