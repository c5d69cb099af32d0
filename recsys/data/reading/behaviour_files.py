"""One file per behaviour: `behaviour_files = { view = "view.txt", buy = "buy.txt" }`.

The name of a behaviour replaces a column of behaviours. `behaviours` names the target, which makes
the pairs. All files belong to one log; equal times, and files without times, are in the order in
which the settings name the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.raw_parts import with_ids_of_one_type
from recsys.data.reading.source import NONE, Source
from recsys.data.reading.text_files import require
from recsys.errors import InputError, suggest

__all__ = ["InputFile", "files_of_behaviours", "join_behaviours"]

_PLACE = "[data] behaviour_files"
_PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class InputFile:
    """One file of a source.

    Args:
        part: "all", or "train", "valid" or "test" of a source that is already split.
        path: a file, or a folder that is one table.
        behaviour: of all rows of the file; None: a column holds it, or it is unknown.
    """

    part: str
    path: Path
    behaviour: str | None = None


def files_of_behaviours(source: Source) -> list[InputFile]:
    """Return the files of a source with one file per behaviour, those of a part together.

    Raises:
        InputError: settings that contradict it, no target, a target without a file, a file that is
            named twice or does not exist.
    """
    assert source.behaviour_files is not None
    _check_settings(source)
    folder = _folder(source)
    by_name = {name: _parts_of(name, value) for name, value in source.behaviour_files.items()}
    is_split = any("all" not in parts for parts in by_name.values())
    files = [
        InputFile("train" if is_split and part == "all" else part, folder / file, name)
        for name, parts in by_name.items()
        for part, file in parts.items()
    ]
    _check_files(files)
    _check_target(files, source.behaviours or ())
    return sorted(files, key=lambda file: ("all", *_PARTS).index(file.part))


def _check_settings(source: Source) -> None:
    """Raise an error about settings that contradict one file per behaviour."""
    given = [name for name in _PARTS if getattr(source, name)]
    if given:
        raise InputError(
            f"{' and '.join(given)} and behaviour_files both name files",
            place=_PLACE,
            remedy=f'name the parts of a behaviour: buy = {{ {given[0]} = "{given[0]}.txt" }}',
        )
    if source.behaviour not in (None, NONE):
        raise InputError(
            f"behaviour = {source.behaviour!r} names a column, and behaviour_files names files",
            place=_PLACE,
            remedy="leave out one of them",
        )
    if source.ordered:
        raise InputError(
            "ordered takes rows in the order of one file, and several files have no common order",
            place=_PLACE,
            remedy="leave out ordered, or give files with times",
        )
    names = list(source.behaviour_files or ())
    if source.behaviours is None:
        last = names[-1] if names else "buy"
        raise InputError(
            "the target is missing: behaviours names the files that make the pairs",
            place=_PLACE,
            remedy=f'set behaviours = ["{last}"]',
        )
    for name in source.behaviours:
        if name not in names:
            raise InputError(
                f"the target '{name}' has no file",
                place="[data] behaviours",
                remedy=suggest(name, names),
            )


def _folder(source: Source) -> Path:
    """Return the folder of the files."""
    if source.path is None:
        raise InputError(
            "behaviour_files without path", place="[data]", remedy="give their folder as path"
        )
    folder = Path(source.path).expanduser()
    require(folder)
    if not folder.is_dir():
        raise InputError(
            "path must be the folder of behaviour_files, got a file",
            place=str(folder),
            remedy="give the folder",
        )
    return folder


def _parts_of(name: str, value: str | Mapping[str, str]) -> dict[str, str]:
    """Return the files of a behaviour by part.

    Raises:
        InputError: a part has another name, or train is missing.
    """
    if isinstance(value, str):
        return {"all": value}
    unknown = [part for part in value if part not in _PARTS]
    if unknown or "train" not in value:
        raise InputError(
            f"'{unknown[0]}' of {name} is not a part" if unknown else f"{name} lacks train",
            place=_PLACE,
            remedy=f'write {name} = {{ train = "train.txt", test = "test.txt" }}, '
            f'or {name} = "{name}.txt"',
        )
    return dict(value)


def _check_files(files: Sequence[InputFile]) -> None:
    """Raise an error about a file that does not exist, or that two behaviours or parts name."""
    owners: dict[Path, InputFile] = {}
    for file in files:
        require(file.path)
        other = owners.setdefault(file.path.resolve(), file)
        if other is not file:
            names = " and ".join(dict.fromkeys(f"{one.behaviour}" for one in (other, file)))
            raise InputError(
                f"{file.path.name} is named twice, for {names}",
                place=_PLACE,
                remedy="give each its own file",
            )


def _check_target(files: Sequence[InputFile], targets: Sequence[str]) -> None:
    """Raise an error about a part without a file of the target."""
    for file in files:
        if not any(one.part == file.part and one.behaviour in targets for one in files):
            raise InputError(
                f"{file.behaviour} has a {file.part} file, and the target {' and '.join(targets)} "
                "has none",
                place=_PLACE,
                remedy=f'name the parts of the target: {targets[0]} = {{ train = "train.txt", '
                f'{file.part} = "{file.part}.txt" }}',
            )


def join_behaviours(
    files: Sequence[InputFile], frames: Sequence[pl.DataFrame]
) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """Return the rows of each part with a column of behaviours, and notes.

    Args:
        files: as from `files_of_behaviours`.
        frames: the rows of each file.

    Raises:
        InputError: some files have times and others do not.
    """
    kept, notes = _common_columns(files, frames)
    frames = with_ids_of_one_type([frame.select(kept) for frame in frames])
    if any(frame.schema.get("time") == pl.Datetime("ns") for frame in frames):
        frames = [frame.with_columns(pl.col("time").cast(pl.Datetime("ns"))) for frame in frames]
    parts: dict[str, list[pl.DataFrame]] = {}
    for file, frame in zip(files, frames, strict=True):
        named = frame.with_columns(pl.lit(file.behaviour, dtype=pl.String).alias("behaviour"))
        parts.setdefault(file.part, []).append(named)
    return {part: pl.concat(several) for part, several in parts.items()}, notes


def _common_columns(
    files: Sequence[InputFile], frames: Sequence[pl.DataFrame]
) -> tuple[list[str], list[str]]:
    """Return the columns that all files have, and a note on each of the others.

    Raises:
        InputError: some files have times and others do not.
    """
    kept = []
    notes = []
    for name in dict.fromkeys(column for frame in frames for column in frame.columns):
        has = [name in frame.columns for frame in frames]
        if all(has):
            kept.append(name)
            continue
        without, example = files[has.index(False)].path, files[has.index(True)].path.name
        if name == "time":
            raise InputError(
                f"{example} has times, and {without.name} does not",
                place=str(without),
                remedy='give times in all files, or set time = "none"',
            )
        notes.append(f"{name} left out, because {without.name} lacks it")
    return kept, notes
