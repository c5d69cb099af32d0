"""Reading: the file or files of a source to interactions with external ids.

locate    which files the source means
guess     the format of the first
a reader  one file to a RawLog; `recsys.data.reading.formats` has one per format
RawParts  all of them, with ids of one type
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.raw_parts import RawLog, RawParts
from recsys.data.reading.formats import FileFormat, file_format, is_plugin
from recsys.data.reading.location import guess, listing, locate
from recsys.data.reading.parquet import parquet_files
from recsys.data.reading.source import COLUMN_SETTINGS, NONE, ROLES, Source
from recsys.errors import InputError

__all__ = ["number_rows", "read"]

# Settings that say how a file is written.
_FILE_SETTINGS = (*COLUMN_SETTINGS, "separator", "quote", "header", "ordered")
# If one of these is given, the file has columns, and lines of numbers are not lists of items.
_TABLE_SETTINGS = (*ROLES, "separator", "quote", "header")


def read(source: Source) -> RawParts:
    """Read the file or files of a source; no row is filtered yet.

    Raises:
        InputError: names the file, the line and the column that is wrong, and what to do.
    """
    given = {name: value for name in ("train", "valid", "test") if (value := getattr(source, name))}
    whole_folder = source.format == "parquet" or is_plugin(source.format)
    files = locate(source.path, given, whole=whole_folder)
    name = source.format if source.format != "auto" else _guess(source, list(files.values()))
    label = f"{name} (guessed)" if source.format == "auto" else name
    kind = file_format(name)
    _check_settings(source, kind, label, next(iter(files.values())))
    for path in files.values():
        _check_is_file(path, kind, name)
    logs = {part: kind.read(path, source) for part, path in files.items()}
    history = [
        f"{files[part].name}: {', '.join((label, *log.notes))}, {log.frame.height} rows"
        for part, log in logs.items()
    ]
    frames = {part: log.frame for part, log in logs.items()}
    # If one part has times, a part without any does not get row numbers as times.
    if source.ordered and not any("time" in frame.columns for frame in frames.values()):
        frames = {part: number_rows(frame) for part, frame in frames.items()}
    if any("part" in frame.columns for frame in frames.values()):
        frames = _split_by_part(frames, files, name)
    users, items = (_id_range(logs, role, kind, files) for role in ("users", "items"))
    if users and items and (users.start or items.start):
        history.append(f"users from {users.start}, items from {items.start}")
    in_file_order = kind.in_file_order and not any(map(_has_many_files, files.values()))
    return RawParts(
        all=frames.get("all"),
        train=frames.get("train"),
        valid=frames.get("valid"),
        test=frames.get("test"),
        users=users,
        items=items,
        history=tuple(history),
        in_file_order=in_file_order,
    )


def number_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with the row number as the time."""
    return frame.with_columns(pl.Series("time", np.arange(frame.height, dtype=np.int64)))


def _guess(source: Source, files: Sequence[Path]) -> str:
    """Return the format of the files, recognised by the first one."""
    has_columns = any(getattr(source, name) is not None for name in _TABLE_SETTINGS)
    others = [path for path in files if path != files[0]]
    return guess(files[0], table=has_columns, others=others)


def _check_settings(source: Source, kind: FileFormat, label: str, path: Path) -> None:
    """Raise an error about a setting that the format does not use."""
    if kind.settings is None:
        return
    for name in _FILE_SETTINGS:
        value = getattr(source, name)
        if name in kind.settings or value in (getattr(Source, name), NONE):
            continue
        is_guess = source.format == "auto"
        raise InputError(
            f"{name} = {value!r} is not read from {label}",
            place=str(path),
            remedy="leave it out"
            + (', or say what the file is, as in format = "csv"' if is_guess else ""),
        )


def _check_is_file(path: Path, kind: FileFormat, name: str) -> None:
    """Raise an error about a folder, if the format cannot read one."""
    if path.is_dir() and not kind.folders:
        raise InputError(
            f"expected a file of the format {name}, got a folder",
            place=str(path),
            remedy=f"give one of {listing(path)}",
        )


def _has_many_files(path: Path) -> bool:
    """Return whether a table is a folder of several files, whose rows have no common order."""
    return path.is_dir() and len(parquet_files(path)) > 1


def _split_by_part(
    frames: Mapping[str, pl.DataFrame], files: Mapping[str, Path], name: str
) -> dict[str, pl.DataFrame]:
    """Return train, valid and test of a file that holds all parts.

    Raises:
        InputError: the train part is missing, or the file was given as one of several parts.
    """
    path = next(iter(files.values()))
    if "all" not in frames:
        article = "an" if name[0] in "aeioux" else "a"
        raise InputError(
            f"{article} {name} file holds all three parts",
            place=str(path),
            remedy="give it as path",
        )
    parts = {
        part: frames["all"].filter(pl.col("part") == part).drop("part")
        for part in ("train", "valid", "test")
    }
    if not parts["train"].height:
        raise InputError(
            "no row belongs to the train part",
            place=str(path),
            remedy="in x_label, 0 is train, 1 valid, 2 test"
            if name == "x-label"
            else "check the column of parts",
        )
    return {part: frame for part, frame in parts.items() if frame.height}


def _id_range(
    logs: Mapping[str, RawLog], role: str, kind: FileFormat, files: Mapping[str, Path]
) -> range | None:
    """Return the range of ids that covers all parts; None if the format does not number ids.

    Args:
        logs: the content of each file.
        role: "users" or "items".
        kind: the format.
        files: path of each part, for errors.

    Raises:
        InputError: matrices of different shapes.
    """
    ranges = {part: getattr(log, role) for part, log in logs.items()}
    if kind.fixed_size and len(set(ranges.values())) > 1:
        sizes = ", ".join(f"{files[part].name} {len(ids)}" for part, ids in ranges.items())
        raise InputError(
            f"the matrices differ in shape: {sizes}",
            place=str(next(iter(files.values())).parent),
            remedy="write all parts with the shape of the whole",
        )
    filled = [ids for ids in ranges.values() if ids]
    if not filled:
        return None
    return range(min(ids.start for ids in filled), max(ids.stop for ids in filled))
