"""Recommendations as a frame, or as a resumable job that writes files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from recsys.data.ids import requested_ids
from recsys.data.types import Dataset
from recsys.errors import InputError, first_line, one_of
from recsys.files import read_json, write_atomic, write_json
from recsys.scorer import Scorer
from recsys.serving.recommender import Recommender
from recsys.serving.request import Request

__all__ = ["Format", "Job", "recommend", "write_recommendations"]

Format = Literal["parquet", "csv", "jsonl"]
_SUFFIXES: Mapping[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


def recommend(scorer: Scorer, train: Dataset, request: Request | None = None) -> pl.DataFrame:
    """Return the k best items of each user.

    Args:
        scorer: the scorer.
        train: its training data: the ids, and the histories of the users.
        request: which users, how many items, which candidates; None: 10 items for every user.

    Returns:
        user, item (outside ids), rank (1..k), score, source ("model", or "popular" for users whom
        the model does not know, whose score is the training count of the item), and title if it was
        asked for. Users have the type of the run's ids; all are strings if one of them cannot have
        that type, as 'guest' in a run with integer ids.

    Raises:
        InputError: an unknown item in `candidates` or `exclude`, no candidate is left, or an
            unknown user with unknown = "error".
    """
    request = request or Request()
    recommender = Recommender(scorer, train, request)
    users = requested_ids(train.users.ids, request.users)
    recommender.check(users)
    return recommender.frame(users)


@dataclass(frozen=True)
class Job:
    """What a job of recommendations wrote.

    Args:
        files: paths, in the order of the users.
        users: number of users with a list by the model.
        fallback: number of users with a list by popularity.
        rows: number of recommendations.
        reused: number of files that an earlier, interrupted job had finished.
    """

    files: tuple[Path, ...]
    users: int
    fallback: int
    rows: int
    reused: int = 0


def write_recommendations(
    out: Path,
    scorer: Scorer,
    train: Dataset,
    request: Request | None = None,
    *,
    batch: int = 50_000,
    format: Format = "parquet",
    model: str = "",
    training: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> Job:
    """Write `recommend` to a file, or to a folder in parts of `batch` users.

    A path that ends in .parquet, .csv or .jsonl is a file; any other path is a folder of
    part-00000.<format> and manifest.json. An interrupted job continues if it is started again with
    the same arguments: finished parts are not written again. The manifest is marked as finished
    last, so a reader that waits for this never sees half a job.

    Args:
        out: file or folder.
        scorer, train, request: as in `recommend`.
        batch: users per part, at least 1.
        format: format of the parts of a folder; the ending of a file names its own.
        model: identity of the model, for the manifest; parts of another model are not reused.
        training: how the training of the model ended, for the manifest (`Stopping.plain`).
        tell: called with the number of users done and the number of all users.

    Raises:
        InputError: as `recommend`; an invalid format or `batch`; the folder holds the parts of
            another job; the disk is full.
    """
    out, request = Path(out), request or Request()
    one_of(format, get_args(Format), "format")
    if batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}", remedy="ask for 1 or more users")
    recommender = Recommender(scorer, train, request)
    users = requested_ids(train.users.ids, request.users)
    recommender.check(users)
    if out.suffix in _SUFFIXES:
        frame = recommender.frame(users)
        write_atomic(out, lambda path: _save(frame, path, _SUFFIXES[out.suffix]))
        if tell is not None:
            tell(len(users), len(users))
        return _job([out], [frame])
    if out.suffix and not out.is_dir():
        raise InputError(
            f"unknown ending '{out.suffix}'",
            place=str(out),
            remedy=f"end in {', '.join(_SUFFIXES)}, or give a folder",
        )
    asked = {
        "model": model,
        **recommender.identity(users),
        "batch": batch,
        "format": format,
    }
    _claim(out, asked)
    parts = []
    for part in _parts(out, recommender, users, batch, format):
        parts.append(part)
        if tell is not None:
            tell(min(len(parts) * batch, len(users)), len(users))
    job = _sum(parts)
    manifest = asked | {
        "status": "finished",
        "files": [path.name for path in job.files],
        "rows": job.rows,
        "users": job.users,
        "fallback": job.fallback,
    }
    if training is not None:
        manifest["training"] = dict(training)
    write_json(out / "manifest.json", manifest)
    return job


def _parts(
    out: Path, recommender: Recommender, users: pl.Series, batch: int, format: Format
) -> Iterator[Job]:
    """Write the parts of a folder that are not there yet, and yield what each part holds."""
    for number, start in enumerate(range(0, max(1, len(users)), batch)):
        path = out / f"part-{number:05d}.{format}"
        if path.exists():
            yield _job([path], [_load(path, format)], reused=1)
            continue
        frame = recommender.frame(users.slice(start, batch))

        def save(temporary: Path, frame: pl.DataFrame = frame) -> None:
            _save(frame, temporary, format)

        write_atomic(path, save)
        yield _job([path], [frame])


def _claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Create the folder of a job, or check that it holds an earlier try at the same job.

    Args:
        out: the folder.
        asked: what decides the bytes of the parts, as in the manifest.

    Raises:
        InputError: it holds another job, or other files.
    """
    manifest = out / "manifest.json"
    if manifest.exists():
        before = read_json(manifest)
        now = json.loads(json.dumps(asked))
        differing = [key for key, value in now.items() if before.get(key) != value]
        if differing:
            raise InputError(
                f"holds the parts of another job ({', '.join(differing)} differ)",
                place=str(out),
                remedy="choose another folder, or empty this one",
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "already exists and is not the folder of a job",
            place=str(out),
            remedy="choose another folder",
        )
    write_json(manifest, {**asked, "status": "running"})


def _save(frame: pl.DataFrame, path: Path, format: Format) -> None:
    if format == "parquet":
        frame.write_parquet(path, compression="zstd")
    elif format == "csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)


def _load(path: Path, format: Format) -> pl.DataFrame:
    """Return the recommendations of a part; `user` and `source` at least.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if format == "parquet":
            return pl.read_parquet(path)
        if format == "csv":
            return pl.read_csv(path, infer_schema=False)
        if not path.stat().st_size:  # no user of the part has a recommendation
            return pl.DataFrame(schema={"user": pl.String, "source": pl.String})
        return pl.read_ndjson(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}",
            place=str(path),
            remedy="delete this part and start the job again",
        ) from None


def _job(files: list[Path], frames: list[pl.DataFrame], reused: int = 0) -> Job:
    users = pl.concat([frame.select("user", "source") for frame in frames]).unique()
    fallback = users.filter(pl.col("source") == "popular").height
    rows = sum(frame.height for frame in frames)
    return Job(tuple(files), users.height - fallback, fallback, rows, reused)


def _sum(parts: list[Job]) -> Job:
    return Job(
        tuple(path for part in parts for path in part.files),
        sum(part.users for part in parts),
        sum(part.fallback for part in parts),
        sum(part.rows for part in parts),
        sum(part.reused for part in parts),
    )
