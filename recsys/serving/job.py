"""A job that writes lists: to one file, or to a folder in parts that resume.

An engine computes the parts of a folder. The local engine computes them one after the other in this
process; `recsys.serving.ray_engine` spreads them over the workers of a cluster. Both call
`PartWriter`: the number of a part in, a file and what it holds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys.errors import InputError, one_of
from recsys.files import write_atomic
from recsys.serving.asked import Asked
from recsys.serving.job_folder import JobFolder, Part, counted
from recsys.serving.list_files import SUFFIXES, Format, save_batches
from recsys.serving.machine import environment
from recsys.serving.recommender import Recommender

__all__ = ["Engine", "Job", "PartWriter", "Writing", "job_folder", "write_lists"]

# Writes the parts with these numbers, and yields each when it is finished, in any order.
Engine: TypeAlias = "Callable[[PartWriter, Sequence[int]], Iterator[Part]]"


@dataclass(frozen=True)
class Job:
    """What a job of recommendations wrote.

    Args:
        files: paths, in the order of the users, histories or items.
        users: number of them with a list by the model.
        fallback: number of them with a list by popularity.
        rows: number of recommendations.
        reused: number of files that an earlier, interrupted job had finished.
    """

    files: tuple[Path, ...]
    users: int
    fallback: int
    rows: int
    reused: int = 0


@dataclass(frozen=True)
class Writing:
    """Where lists are written, and how.

    Args:
        out: file or folder.
        batch: lists per part, at least 1.
        format: format of the parts of a folder; the ending of a file names its own.
        model: identity of the model, for the manifest; parts of another model are not reused.
        training: how the training of the model ended, for the manifest (`Stopping.plain`).
        tell: called with the number of lists done and the number of all.
        order: how the job was asked for, for the manifest.
        engine: computes the parts of a folder; None: this process, one after the other.

    Raises:
        InputError: an invalid format or `batch`.
    """

    out: Path
    batch: int = 50_000
    format: Format = "parquet"
    model: str = ""
    training: Mapping[str, Any] | None = None
    tell: Callable[[int, int], None] | None = None
    order: Mapping[str, Any] | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        one_of(self.format, get_args(Format), "format")
        if self.batch < 1:
            raise InputError(
                f"batch must be at least 1, got {self.batch}", remedy="ask for 1 or more users"
            )

    def done(self, lists: int, all_lists: int) -> None:
        """Report the number of lists that are written."""
        if self.tell is not None:
            self.tell(lists, all_lists)


@dataclass(frozen=True, eq=False)
class PartWriter:
    """Writes the parts of a job.

    Args:
        folder: the folder of the job.
        recommender: makes the lists.
        asked: all queries.
        batch: queries per part.
    """

    folder: JobFolder
    recommender: Recommender
    asked: Asked
    batch: int

    def __call__(self, number: int) -> Part:
        """Compute and write a part, and return what it holds.

        Raises:
            InputError: as `Recommender.frame`; RetryError if the file cannot be written.
        """
        return self.folder.write(number, self.recommender.frame(self.asked.take(self.span(number))))

    def span(self, number: int) -> slice:
        """Return the positions of the queries of a part."""
        return slice(number * self.batch, min((number + 1) * self.batch, len(self.asked)))


def write_lists(writing: Writing, recommender: Recommender, asked: Asked) -> Job:
    """Write the lists of a request that is resolved to rows.

    Args:
        writing: where and how.
        recommender: makes the lists.
        asked: the queries.

    Raises:
        InputError: an invalid ending; the folder holds another job or other files.
        RetryError: another process works on the job; the disk is full or gone.
    """
    out = writing.out
    if out.suffix in SUFFIXES:
        return _write_file(writing, recommender, asked)
    if out.suffix and not out.is_dir():
        raise InputError(
            f"unknown ending '{out.suffix}'",
            place=str(out),
            remedy=f"end in {', '.join(SUFFIXES)}, or give a folder",
        )
    folder = job_folder(writing, recommender, asked)
    if (parts := folder.finished()) is not None:
        writing.done(len(asked), len(asked))
        return _job(folder, parts, len(parts))
    writer = PartWriter(folder, recommender, asked, writing.batch)
    with folder.claimed() as before:
        by_number = {part.number: part for part in before}
        lists = sum(_length(writer, number) for number in by_number)
        writing.done(lists, len(asked))
        missing = [number for number in range(folder.n_parts) if number not in by_number]
        for part in (writing.engine or _one_by_one)(writer, missing):
            folder.record(part)
            by_number[part.number] = part
            lists += _length(writer, part.number)
            writing.done(lists, len(asked))
        parts = [by_number[number] for number in range(folder.n_parts)]
        training = {} if writing.training is None else {"training": dict(writing.training)}
        folder.finish(parts, training)
    return _job(folder, parts, len(before))


def job_folder(writing: Writing, recommender: Recommender, asked: Asked) -> JobFolder:
    """Return the folder of a job, with what decides its bytes."""
    identity = {
        "model": writing.model,
        **recommender.identity(asked),
        "batch": writing.batch,
        "format": writing.format,
        "environment": environment(asked.scorer.device),
    }
    n_parts = max(1, -(-len(asked) // writing.batch))
    return JobFolder(writing.out, writing.format, n_parts, identity, writing.order)


def _one_by_one(writer: PartWriter, numbers: Sequence[int]) -> Iterator[Part]:
    """Write parts one after the other in this process."""
    return map(writer, numbers)


def _write_file(writing: Writing, recommender: Recommender, asked: Asked) -> Job:
    """Write all lists to one file, which appears when it is complete."""
    counts = np.zeros(3, dtype=np.int64)

    def frames() -> Iterator[pl.DataFrame]:
        for start in range(0, max(1, len(asked)), writing.batch):
            frame = recommender.frame(asked.take(slice(start, start + writing.batch)))
            counts[:] += *counted(frame), frame.height
            yield frame
            writing.done(min(start + writing.batch, len(asked)), len(asked))

    format = SUFFIXES[writing.out.suffix]
    write_atomic(writing.out, lambda path: save_batches(frames(), path, format))
    users, fallback, rows = counts.tolist()
    return Job((writing.out,), users, fallback, rows)


def _length(writer: PartWriter, number: int) -> int:
    span = writer.span(number)
    return int(span.stop - span.start)


def _job(folder: JobFolder, parts: Sequence[Part], reused: int) -> Job:
    return Job(
        tuple(folder.path(part.number) for part in parts),
        sum(part.users for part in parts),
        sum(part.fallback for part in parts),
        sum(part.rows for part in parts),
        reused,
    )
