"""The folder of a job: a manifest, the parts that are finished, a lock.

    lists/part-00000.parquet   the parts alone: pandas, polars and DuckDB read the folder
    manifest.json              what decides the bytes, the status, and each part when all are there
    parts.jsonl                the finished parts, one a line, while the job runs
    .lock                      locked while a process works on the job

A part is written to a temporary file, flushed to the disk, renamed into `lists`, and recorded in
`parts.jsonl`, in this order. A kill between two of these steps costs that part alone: a part that
is not recorded with its size is written again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError, RetryError
from recsys.files import (
    LOCK,
    disk_error,
    exclusive,
    read_json,
    remove_leftovers,
    sha256_of,
    temporary_of,
    write_json,
    write_text,
)
from recsys.serving.list_files import Format, save

__all__ = ["LAYOUT", "JobFolder", "Part", "counted", "read_manifest"]

LAYOUT = 2  # version of the folder's layout
_WAIT = "wait for it, or choose another --out"


@dataclass(frozen=True)
class Part:
    """A finished part of a job.

    Args:
        number: position of the part, from 0.
        users: lists by the model.
        fallback: lists by popularity.
        rows: recommendations.
        bytes: size of the file.
        sha256: of the file.
    """

    number: int
    users: int
    fallback: int
    rows: int
    bytes: int
    sha256: str


def counted(frame: pl.DataFrame) -> tuple[int, int]:
    """Return the number of lists by the model, and by popularity.

    Args:
        frame: recommendations; who asked in the first column, and `source`.
    """
    lists = frame.select(frame.columns[0], "source").unique()
    fallback = lists.filter(pl.col("source") == "popular").height
    return lists.height - fallback, fallback


@dataclass(frozen=True)
class JobFolder:
    """The folder of a job of n parts.

    Args:
        out: the folder.
        format: of the parts.
        n_parts: number of parts, at least 1.
        identity: what decides the bytes of the parts, as in the manifest.
        order: how the job was asked for, for the manifest; does not decide the bytes.
    """

    out: Path
    format: Format
    n_parts: int
    identity: Mapping[str, Any]
    order: Mapping[str, Any] | None = None

    @property
    def _manifest(self) -> Path:
        return self.out / "manifest.json"

    @property
    def _journal(self) -> Path:
        return self.out / "parts.jsonl"

    def path(self, number: int) -> Path:
        """Return the path of a part."""
        return self.out / "lists" / f"part-{number:05d}.{self.format}"

    def write(self, number: int, frame: pl.DataFrame) -> Part:
        """Write a part completely or not at all, and return what it holds.

        Any process of any machine that shares the folder may call it.

        Raises:
            RetryError: the disk is full, or the folder is gone.
        """
        path = self.path(number)
        temporary = temporary_of(self.out / path.name)
        try:
            save(frame, temporary, self.format)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            digest = sha256_of(temporary)
            temporary.replace(path)
        except BaseException as error:  # an interrupt must leave no half-written file either
            if self.out.is_dir():
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise disk_error(OSError(error.errno, error.strerror), path) from None
            raise
        users, fallback = counted(frame)
        return Part(number, users, fallback, frame.height, size, digest)

    def finished(self) -> list[Part] | None:
        """Return the parts of a job that is finished and complete, None for any other.

        Nothing is written.

        Raises:
            InputError: the folder holds another job, or other files.
        """
        before = self._read()
        if before is None or before["status"] != "finished":
            return None
        parts = self._intact(before["parts"])
        leftovers = self._journal.exists() or any(self.out.rglob(".*.tmp"))
        return parts if len(parts) == self.n_parts and not leftovers else None

    @contextmanager
    def claimed(self) -> Iterator[list[Part]]:
        """Lock the folder, and give the parts that an earlier try finished.

        Raises:
            RetryError: another process works on the job; the folder cannot be written.
            InputError: the folder holds another job, or other files.
        """
        with exclusive(self.out, "job", _WAIT):
            before = self._read()
            remove_leftovers(self.out)
            records: Iterable[Mapping[str, Any]] = self._recorded()
            if before is not None and before["status"] == "finished":
                records = before["parts"]
            parts = self._intact(records)
            (self.out / "lists").mkdir(exist_ok=True)
            write_text(self._journal, "".join(self._line(part) for part in parts))
            write_json(self._manifest, self._head("running"))
            yield parts

    def record(self, part: Part) -> None:
        """Record a finished part.

        Raises:
            RetryError: the disk is full, or the folder is gone.
        """
        try:
            if not self._journal.exists():
                raise FileNotFoundError(2, "the folder is gone")
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(self._line(part))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(OSError(error.errno, error.strerror), self._journal) from None

    def finish(self, parts: list[Part], more: Mapping[str, Any]) -> None:
        """Mark the job as finished.

        Args:
            parts: all parts, in order.
            more: further entries of the manifest.

        Raises:
            RetryError: a part is gone.
        """
        for part in parts:
            if not self._is_intact(part):
                raise RetryError(
                    "is gone or cut off while the job was running",
                    place=str(self.path(part.number)),
                    remedy="run the same command again: it writes this part again",
                )
        totals = {
            "rows": sum(part.rows for part in parts),
            "users": sum(part.users for part in parts),
            "fallback": sum(part.fallback for part in parts),
            "parts": [self._entry(part) for part in parts],
        }
        write_json(self._manifest, {**self._head("finished"), **totals, **more})
        self._journal.unlink(missing_ok=True)

    def _head(self, status: str) -> dict[str, Any]:
        head = {"layout": LAYOUT, **self.identity, "status": status}
        return head if self.order is None else {**head, "order": self.order}

    def _read(self) -> dict[str, Any] | None:
        """Return the manifest of an earlier try at this job; None if no earlier try exists.

        Raises:
            InputError: the folder holds another job, or other files.
        """
        if not self._manifest.exists():
            self._refuse_others()
            return None
        before = read_manifest(self.out)
        now = json.loads(json.dumps({"layout": LAYOUT, **self.identity}))
        if differing := list(_differing(before, now)):
            raise InputError(
                f"holds the parts of another job ({', '.join(differing)} differ)",
                place=str(self.out),
                remedy="choose another folder, or empty this one",
            )
        return before

    def _refuse_others(self) -> None:
        """Refuse a folder with other files than those of a try that was killed at once."""
        if not self.out.exists():
            return
        if not self.out.is_dir() or not all(map(_is_leftover, self.out.iterdir())):
            raise InputError(
                "already exists and is not the folder of a job",
                place=str(self.out),
                remedy="choose another folder",
            )

    def _recorded(self) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of `parts.jsonl`; the last line may be cut off."""
        if not self._journal.exists():
            return
        for line in self._journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry

    def _intact(self, entries: Iterable[Mapping[str, Any]]) -> list[Part]:
        """Return the recorded parts whose files are there in full, in order."""
        parts: dict[int, Part] = {}
        for entry in entries:
            values = {name: entry.get(name) for name in _FIELDS}
            whole = all(isinstance(values[name], int) for name in _FIELDS if name != "sha256")
            if not whole or not isinstance(values["sha256"], str):
                continue
            part = Part(**values)  # type: ignore[arg-type]
            if 0 <= part.number < self.n_parts and self._is_intact(part):
                parts[part.number] = part
        return [parts[number] for number in sorted(parts)]

    def _is_intact(self, part: Part) -> bool:
        try:
            return self.path(part.number).stat().st_size == part.bytes
        except OSError:
            return False

    def _entry(self, part: Part) -> dict[str, Any]:
        name = self.path(part.number).relative_to(self.out).as_posix()
        return {"file": name, **dataclasses.asdict(part)}

    def _line(self, part: Part) -> str:
        return json.dumps(self._entry(part)) + "\n"


_FIELDS = tuple(field.name for field in dataclasses.fields(Part))


def read_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a job.

    Raises:
        InputError: it is missing or damaged.
    """
    path = out / "manifest.json"
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("status") not in ("running", "finished"):
        raise InputError(
            "is not the manifest of a job",
            place=str(path),
            remedy="give a folder that recsys recommend wrote",
        )
    if manifest["status"] == "finished" and not isinstance(manifest.get("parts", []), list):
        raise InputError("parts must be a list", place=str(path), remedy="empty the folder")
    return {"parts": [], **manifest}


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that differ, those of a table with the name of the table."""
    for key, value in now.items():
        other = before.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            for inner in _differing(other, value):
                yield f"{key}.{inner}"
        elif other != value:
            yield key


def _is_leftover(path: Path) -> bool:
    """Return whether a kill before the first manifest may have left this."""
    if path.name == "lists" and path.is_dir():
        return not any(path.iterdir())
    return path.name in (LOCK, "parts.jsonl") or (
        path.name.startswith(".") and path.name.endswith(".tmp")
    )
