"""A job in a folder: killed, filled up, doubled, damaged, changed, and checked."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset
import pytest
import torch
from mistakes import LOG, MF, invoke

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError, RetryError
from recsys.files import LOCK, Lock, write_atomic
from recsys.scorer import Factors, MultiFactors
from recsys.serving import Request, job_folder, machine, write_recommendations
from recsys.serving.job_check import check_job

ROOT = Path(__file__).parents[2]
USERS, ITEMS = 40, 25


def world(users: int = USERS, titles: bool = False) -> tuple[Factors, Dataset]:
    """A scorer of random vectors and its training data."""
    rng = np.random.default_rng(1)
    user, item = (
        torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32)) for n in (users, ITEMS)
    )
    rows = np.nonzero(rng.random((users, ITEMS)) < 0.2)
    pairs = Interactions(rows[0].astype(np.int32), rows[1].astype(np.int32), users, ITEMS)
    names = pl.Series([f"Item {i}" for i in range(ITEMS)]) if titles else None
    vocabs = (Vocab(pl.Series([f"{k}{i}" for i in range(n)]), k) for k, n in zip_kinds(users))
    return Factors(user, item), Dataset(pairs, *vocabs, titles=names)


def zip_kinds(users: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("user", users), ("item", ITEMS)


def write(out: Path, tell: Any = None, **options: Any) -> Any:
    scorer, train = world()
    options = {"batch": 5, "model": "m", **options}
    return write_recommendations(out, scorer, train, Request(k=3), tell=tell, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def stop_after(parts: int) -> Any:
    """Interrupt a job when this many parts are done."""

    def stop(done: int, _: int) -> None:
        if done == 5 * parts:
            raise KeyboardInterrupt

    return stop


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A job that was interrupted after three of eight parts."""
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "job", stop_after(3))
    return tmp_path / "job"


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    write(tmp_path / "whole")
    return contents(tmp_path / "whole")


def test_temporary_files_of_killed_tries_are_removed(cut: Path, whole: dict[str, bytes]) -> None:
    (cut / ".part-00003.parquet.77-abc.tmp").write_bytes(b"half")
    (cut / ".manifest.json.77-abc.tmp").write_bytes(b"{")
    write(cut)
    assert contents(cut) == whole
    (cut / ".part-00003.parquet.77-abc.tmp").write_bytes(b"half")
    assert write(cut).reused == 8
    assert contents(cut) == whole


@pytest.mark.parametrize(
    "left", [(), (LOCK,), (LOCK, ".manifest.json.77-abc.tmp"), (LOCK, "parts.jsonl")]
)
def test_a_kill_before_the_first_manifest_leaves_a_folder_that_goes_on(
    tmp_path: Path, whole: dict[str, bytes], left: tuple[str, ...]
) -> None:
    (tmp_path / "job" / "lists").mkdir(parents=True)
    for name in left:
        (tmp_path / "job" / name).touch()
    write(tmp_path / "job")
    assert contents(tmp_path / "job") == whole


def test_a_job_at_work_is_not_disturbed(cut: Path) -> None:
    before = contents(cut)
    lock = Lock(cut / LOCK)
    assert lock.take(wait=False)
    with pytest.raises(RetryError, match="another command works on this job"):
        write(cut)
    lock.free(remove=True)
    assert contents(cut) == before


def test_temporary_names_differ_between_machines_with_equal_process_ids(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        write_atomic(tmp_path / "x", lambda path: (names.append(path.name), path.touch()))
    assert names[0] != names[1]


@pytest.mark.parametrize("damage", ["gone", "shorter", "unrecorded", "torn"])
def test_a_part_that_is_not_whole_is_written_again(
    cut: Path, whole: dict[str, bytes], damage: str
) -> None:
    part, journal = cut / "lists" / "part-00001.parquet", cut / "parts.jsonl"
    if damage == "gone":
        part.unlink()
    elif damage == "shorter":
        part.write_bytes(part.read_bytes()[:-9])
    elif damage == "unrecorded":
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join([lines[0], lines[2]]))
    else:
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join([lines[0], lines[2], lines[1][: len(lines[1]) // 2]]))
    assert write(cut).reused == 2
    assert contents(cut) == whole


def test_a_finished_job_with_a_damaged_part_is_repaired(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    write(tmp_path / "job")
    (tmp_path / "job" / "lists" / "part-00004.parquet").write_bytes(b"short")
    assert write(tmp_path / "job").reused == 7
    assert contents(tmp_path / "job") == whole


def test_a_finished_part_is_not_read_again(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a part was read")

    monkeypatch.setattr("recsys.serving.list_files.load", refuse)
    monkeypatch.setattr(pl, "read_parquet", refuse)
    assert write(cut).reused == 3


@pytest.mark.parametrize("what", ["titles", "environment.torch", "environment.device"])
def test_what_decides_the_bytes_is_compared(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, train = world(titles=True)
    write_recommendations(tmp_path / "job", scorer, train, Request(k=3, titles=True))
    if what == "titles":
        _, train = world()
        train = Dataset(train.pairs, train.users, train.items, titles=pl.Series(["new"] * ITEMS))
    else:
        now = machine.environment(scorer.device) | {what.partition(".")[2]: "other"}
        monkeypatch.setattr("recsys.serving.job.environment", lambda _: now)
    with pytest.raises(InputError, match=rf"another job \({what} differ\)"):
        write_recommendations(tmp_path / "job", scorer, train, Request(k=3, titles=True))


def test_a_folder_that_vanishes_is_not_called_finished(tmp_path: Path) -> None:
    out = tmp_path / "job"

    def vanish(done: int, _: int) -> None:
        if done == 10:
            shutil.rmtree(out)

    with pytest.raises(RetryError, match="cannot be written: No such file"):
        write(out, vanish)
    assert not (out / "manifest.json").exists()


def test_a_part_that_vanishes_is_noticed_before_the_job_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "job"

    def vanish(done: int, _: int) -> None:
        if done == 40:
            (out / "lists" / "part-00002.parquet").unlink()

    with pytest.raises(RetryError, match="is gone or cut off"):
        write(out, vanish)
    assert json.loads((out / "manifest.json").read_text())["status"] == "running"
    assert write(out).reused == 7


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_failing_disk_leaves_a_job_that_goes_on(
    tmp_path: Path, whole: dict[str, bytes], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, calls = os.fsync, iter(range(100))
    steps = 0
    with monkeypatch.context() as patch:

        def fail(descriptor: int) -> None:
            if next(calls) >= 7:
                raise OSError(code, os.strerror(code))
            flush(descriptor)

        patch.setattr(os, "fsync", fail)
        with pytest.raises(RetryError, match="cannot be written"):
            write(tmp_path / "job")
        steps = next(calls)
    assert steps > 7
    assert not list((tmp_path / "job").rglob("*.tmp"))
    assert write(tmp_path / "job").reused >= 2
    assert contents(tmp_path / "job") == whole


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("one_file", [False, True])
def test_a_real_limit_on_the_size_of_files(tmp_path: Path, form: str, one_file: bool) -> None:
    """The system refuses to write more than 1,000 bytes; the message names the file."""
    out = tmp_path / f"lists.{form}" if one_file else tmp_path / "job"
    code = (
        "import sys; sys.path.insert(0, 'tests/serving'); from test_job import *\n"
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"write(Path({str(out)!r}), batch=40, format={form!r})"
    )
    done = process(code)
    assert done.returncode == 1
    place = out if one_file else out / "lists" / f"part-00000.{form}"
    assert f"{place}: cannot be written: File too large" in done.stderr
    left = contents(tmp_path)
    assert left.keys() <= {"job/manifest.json", "job/parts.jsonl"}


def process(code: str) -> subprocess.CompletedProcess[str]:
    support = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support")))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": support, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_other_readers_read_the_folder_of_lists(tmp_path: Path) -> None:
    write(tmp_path / "job")
    lists = tmp_path / "job" / "lists"
    expected = pl.concat([pl.read_parquet(path) for path in sorted(lists.iterdir())])
    assert pl.read_parquet(lists).equals(expected)
    assert pl.from_pandas(pd.read_parquet(lists)).equals(expected)
    assert pyarrow.dataset.dataset(lists).to_table().num_rows == expected.height


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_is_written_batch_by_batch(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.serving.recommender import Recommender

    sizes = []
    frame = Recommender.frame

    def watched(self: Recommender, asked: Any) -> pl.DataFrame:
        sizes.append(len(asked))
        return frame(self, asked)

    monkeypatch.setattr(Recommender, "frame", watched)
    once = write(tmp_path / f"once.{ending}", batch=USERS)
    several = write(tmp_path / f"several.{ending}", batch=7)
    assert max(sizes[1:]) == 7
    assert (once.rows, once.users) == (several.rows, several.users) == (3 * USERS, USERS)
    reader = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": pl.read_ndjson}[ending]
    assert reader(once.files[0]).equals(reader(several.files[0]))


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("several", [False, True])
def test_no_matrix_of_all_users_is_built(similarity: Any, several: bool) -> None:
    """Ranking a few of many users allocates far less than a copy of the vectors of all."""
    shape = (200_000, 2, 16) if several else (200_000, 32)
    user, item = torch.randn(shape), torch.randn(10, shape[-1])
    scorer = (
        MultiFactors(user, item, similarity)
        if several
        else Factors(user, item, similarity, torch.randn(10))
    )
    from recsys.data.query import Queries
    from recsys.ranking import top_k

    with torch.profiler.profile(profile_memory=True) as profile:
        top_k(scorer, Queries.of_users([3, 5]), 3)
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
    assert allocated < user.nbytes / 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log and a run of it."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "log.csv").write_text(LOG)
    (folder / "mf.toml").write_text(MF)
    with contextlib.chdir(folder):
        assert invoke("run mf.toml -q --out one")[0] == 0
    return folder


@pytest.fixture
def here(runs: Path) -> Iterator[Path]:
    with contextlib.chdir(runs):
        yield runs


def verified(command: str) -> tuple[int, dict[str, bool]]:
    code, out, err = invoke(f"recommend {command} --json")
    assert not err
    return code, {check["check"].split()[0]: check["holds"] for check in json.loads(out)}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_job_is_checked(here: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "users.txt").write_text("u03\nstranger\nu05\nu05\nu07\n")
    out = tmp_path / "job"
    job = f"recommend one --users {tmp_path / 'users.txt'} --out {out} --batch 2 --format {form}"
    assert invoke(job)[0] == 0
    assert verified(f"--verify {out}") == (
        0,
        {"every": True, "rows": True, "run,": True, "lists": True},
    )
    part = out / "lists" / f"part-00001.{form}"
    flipped = bytearray(part.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    part.write_bytes(flipped)
    code, checks = verified(f"--verify {out}")
    assert (code, checks["every"]) == (2, False)


def test_lists_that_are_not_those_of_the_run_are_noticed(here: Path, tmp_path: Path) -> None:
    """Hashes that fit lists of other items: only computing them again shows it."""
    out = tmp_path / "job"
    assert invoke(f"recommend one --out {out} --batch 30")[0] == 0
    part = out / "lists" / "part-00000.parquet"
    frame = pl.read_parquet(part)
    first, last = frame["item"][0], frame["item"][9]
    swapped = pl.Series([last, *frame["item"][1:9], first, *frame["item"][10:]])
    frame.with_columns(item=swapped).write_parquet(part, compression="zstd")
    manifest = json.loads((out / "manifest.json").read_text())
    entry = manifest["parts"][0]
    entry["bytes"] = part.stat().st_size
    entry["sha256"] = job_folder.sha256_of(part)
    (out / "manifest.json").write_text(json.dumps(manifest))
    code, checks = verified(f"--verify {out}")
    assert (code, checks) == (2, {"every": True, "rows": True, "run,": True, "lists": False})


def test_a_check_says_that_the_files_of_the_request_changed(here: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("u03\nu05\n")
    out = tmp_path / "job"
    assert invoke(f"recommend one --users {tmp_path / 'users.txt'} --out {out}")[0] == 0
    (tmp_path / "users.txt").write_text("u03\nu06\n")
    code, checks = verified(f"--verify {out}")
    assert (code, checks["run,"], "lists" in checks) == (2, False, False)
    manifest = json.loads((out / "manifest.json").read_text()) | {"status": "running"}
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="not finished"):
        check_job(out)


def slow_job(out: Path, runs: Path) -> subprocess.Popen[str]:
    """A job whose parts take a moment each, in a process of its own."""
    code = (
        "import sys, time\n"
        "from recsys.serving.recommender import Recommender\n"
        "frame = Recommender.frame\n"
        "def slowly(self, asked):\n"
        "    time.sleep(1.5)\n"
        "    return frame(self, asked)\n"
        "Recommender.frame = slowly\n"
        f"sys.argv = ['recsys', 'recommend', 'one', '--out', {str(out)!r}, '--batch', '2']\n"
        "from recsys.cli import main\n"
        "main()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=runs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_part(out: Path) -> None:
    until = time.monotonic() + 60
    while not list(out.glob("lists/part-00000*")):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals(runs: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The job ends at once with the code of the signal, and the same command goes on."""
    out = tmp_path / "job"
    job = slow_job(out, runs)
    wait_for_part(out)
    if number == signal.SIGINT:
        second = slow_job(out, runs)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 75
        assert "another command works on this job" in err
    job.send_signal(number)
    _, err = job.communicate(timeout=60)
    assert job.returncode == code
    if number != signal.SIGKILL:
        assert err == (
            "recsys: interrupted; the same command goes on with the parts that are missing in "
            "its --out folder\n"
        )
        assert sorted(path.name for path in out.iterdir()) == [
            "lists",
            "manifest.json",
            "parts.jsonl",
        ]
    with contextlib.chdir(runs):
        resumed, _, err = invoke(f"recommend one --out {out} --batch 2")
        assert resumed == 0, err
        assert invoke(f"recommend one --out {tmp_path / 'whole'} --batch 2")[0] == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scorer.safetensors", b"\xff" * 64),
        ("scorer.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
        ("run.json", b'{"format": 1e999}'),
        ("users.parquet", b"PAR1 not"),
    ],
)
def test_a_hostile_run_folder_is_one_line(
    runs: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(runs / "one", tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    code, out, err = invoke(f"recommend {tmp_path / 'run'} --out {tmp_path / 'job'}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert name in err
    assert not (tmp_path / "job").exists()


def test_vectors_that_are_not_numbers_are_one_line(runs: Path, tmp_path: Path) -> None:
    import safetensors.torch

    shutil.copytree(runs / "one", tmp_path / "run")
    path = tmp_path / "run" / "scorer.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        meta, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["item"][3] = float("nan")
    safetensors.torch.save_file(tensors, path, metadata=meta)
    code, _, err = invoke(f"recommend {tmp_path / 'run'} --out {tmp_path / 'job'}")
    assert (code, err.count("\n")) == (2, 1)
    assert "scores that are not numbers" in err


def test_a_manifest_cannot_lead_out_of_its_folder(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "job"
    assert invoke(f"recommend one --out {out}")[0] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    (tmp_path / "secret").write_bytes((out / "lists" / "part-00000.parquet").read_bytes())
    manifest["parts"][0]["file"] = "../secret"
    (out / "manifest.json").write_text(json.dumps(manifest))
    code, checks = verified(f"--verify {out}")
    assert (code, checks["every"]) == (2, False)


def test_progress_of_a_job_is_lines_of_json(here: Path, tmp_path: Path) -> None:
    code, out, err = invoke(f"recommend one --out {tmp_path / 'job'} --batch 12 --json")
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == [0, 12, 24, 30]
    assert events[1]["per_second"] > 0
    assert events[1]["seconds_left"] > 0
    assert json.loads(out)["rows"] == 300
