"""Reading: the file or files of a source to interactions with external ids.

locate    which files the source means
guess     the format of the first
a reader  one file to a RawLog; `recsys.data.reading.formats` has one per format
RawParts  all of them, with ids of one type
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys.data.raw_parts import RawLog, RawParts
from recsys.data.reading.behaviour_files import InputFile, files_of_behaviours, join_behaviours
from recsys.data.reading.formats import FileFormat, file_format, is_plugin
from recsys.data.reading.location import guess, listing, locate, shortened
from recsys.data.reading.order import list_notes, number_rows, refuse_short_lists
from recsys.data.reading.parquet import parquet_files
from recsys.data.reading.source import COLUMN_SETTINGS, NONE, ROLES, Source
from recsys.data.reading.target_rows import without_earlier
from recsys.errors import InputError

__all__ = ["files_of", "format_of", "read"]

# Settings that say how a file is written.
_FILE_SETTINGS = (*COLUMN_SETTINGS, "separator", "quote", "header", "ordered")
# If one of these is given, the file has columns, and lines of numbers are not lists of items.
_TABLE_SETTINGS = (*ROLES, "separator", "quote", "header")


def read(source: Source) -> RawParts:
    """Read the file or files of a source; no row is filtered yet.

    Raises:
        InputError: names the file, the line and the column that is wrong, and what to do.
    """
    files = files_of(source)
    name = format_of(source, files)
    label = f"{name} (guessed)" if source.format == "auto" else name
    kind = file_format(name)
    _check_settings(source, kind, label, files[0].path)
    for file in files:
        _check_is_file(file.path, kind, name)
    own = replace(source, behaviour=NONE) if source.behaviour_files else source
    logs = [kind.read(file.path, own) for file in files]
    history = [_line(file, label, log, source, kind) for file, log in zip(files, logs, strict=True)]
    frames, notes = _parts(source, kind, files, logs)
    if any("part" in frame.columns for frame in frames.values()):
        frames = _split_by_part(frames, files[0].path, name)
    users, items = (_id_range(logs, role, kind, files) for role in ("users", "items"))
    if users and items and (users.start or items.start):
        notes.append(f"users from {users.start}, items from {items.start}")
    return RawParts(
        all=frames.get("all"),
        train=frames.get("train"),
        valid=frames.get("valid"),
        test=frames.get("test"),
        users=users,
        items=items,
        history=(*history, *notes, *_other_files(source, files)),
        in_file_order=kind.in_file_order and not any(_has_many_files(f.path) for f in files),
    )


def files_of(source: Source) -> list[InputFile]:
    """Return the files of a source, those of a part together."""
    if source.behaviour_files is not None:
        return files_of_behaviours(source)
    given = {name: value for name in ("train", "valid", "test") if (value := getattr(source, name))}
    whole_folder = source.format == "parquet" or is_plugin(source.format)
    parts = locate(source.path, given, whole=whole_folder)
    return [InputFile(part, path) for part, path in parts.items()]


def format_of(source: Source, files: Sequence[InputFile]) -> str:
    """Return the format of the files, recognised by the first one if the settings name none.

    Among files of behaviours one of lists decides: a file of the shortest lists looks like a table.
    """
    if source.format != "auto":
        return source.format
    has_columns = any(getattr(source, name) is not None for name in _TABLE_SETTINGS)
    paths = [file.path for file in files]
    tried = paths if source.behaviour_files else paths[:1]
    names = [
        guess(path, table=has_columns, others=[other for other in paths if other != path])
        for path in tried
    ]
    return "adjacency" if set(names) == {"adjacency", "csv"} else names[0]


def _line(file: InputFile, label: str, log: RawLog, source: Source, kind: FileFormat) -> str:
    """Return the line of the history about one file."""
    words = [label, *log.notes]
    if kind.lists:
        words += list_notes(log.frame, ordered=source.ordered)
    elif source.ordered and not log.histories:
        words.append("rows in time order")
    behaviour = "" if file.behaviour is None else f" ({file.behaviour})"
    return f"{file.path.name}{behaviour}: {', '.join(words)}, {log.frame.height} rows"


def _parts(
    source: Source, kind: FileFormat, files: Sequence[InputFile], logs: Sequence[RawLog]
) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """Return the rows of each part, and notes.

    Raises:
        InputError: files that do not fit together, or `ordered` without effect.
    """
    place = str(files[0].path)
    of_file = [log.frame for log in logs]
    histories = {log.histories for log in logs}
    if True in histories and (source.behaviour_files or len(histories) > 1):
        raise InputError(
            "histories of targets cannot be joined with the events of other files",
            place=place,
            remedy="give one event per row in all files",
        )
    if source.behaviour_files:
        frames, notes = join_behaviours(files, of_file)
        if kind.in_file_order and "time" not in of_file[0].columns:
            notes.append("without times the log holds one file after the other")
        return frames, notes
    frames, notes = {file.part: log.frame for file, log in zip(files, logs, strict=True)}, []
    if True in histories:
        frames, notes = without_earlier(frames, {file.part: file.path for file in files})
    elif source.ordered and kind.lists:
        refuse_short_lists(frames, place)
    is_timed = any("time" in frame.columns for frame in of_file)
    if source.ordered or (True in histories and not is_timed):
        frames = number_rows(frames, place)
    return frames, notes


def _other_files(source: Source, files: Sequence[InputFile]) -> list[str]:
    """Return a note on the other files of a folder whose files look like a split."""
    folder = Path(source.path).expanduser() if source.path else Path()
    is_given = source.train or source.behaviour_files
    if is_given or not source.path or not folder.is_dir() or len(files) < 2:
        return []
    taken = {file.path.name for file in files}
    names = sorted(p.name for p in folder.iterdir() if p.name[0] != "." and p.name not in taken)
    return [f"other files of the folder: {shortened(names)}"] if names else []


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
    frames: Mapping[str, pl.DataFrame], path: Path, name: str
) -> dict[str, pl.DataFrame]:
    """Return train, valid and test of a file that holds all parts.

    Raises:
        InputError: the train part is missing, or the file was given as one of several parts.
    """
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
    logs: Sequence[RawLog], role: str, kind: FileFormat, files: Sequence[InputFile]
) -> range | None:
    """Return the range of ids that covers all files; None if the format does not number ids.

    Args:
        logs: the content of each file.
        role: "users" or "items".
        kind: the format.
        files: the files, for errors.

    Raises:
        InputError: matrices of different shapes.
    """
    ranges: list[range | None] = [getattr(log, role) for log in logs]
    if kind.fixed_size and len(set(ranges)) > 1:
        sizes = ", ".join(
            f"{file.path.name} {len(ids or ())}" for file, ids in zip(files, ranges, strict=True)
        )
        raise InputError(
            f"the matrices differ in shape: {sizes}",
            place=str(files[0].path.parent),
            remedy="write all parts with the shape of the whole",
        )
    filled = [ids for ids in ranges if ids]
    if not filled:
        return None
    return range(min(ids.start for ids in filled), max(ids.stop for ids in filled))
