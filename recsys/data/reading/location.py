"""Files of a source, and the format of a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from recsys.data.reading.parquet import parquet_files
from recsys.data.reading.text_files import head, lines, require, stem
from recsys.errors import InputError

__all__ = ["guess", "listing", "locate", "shortened"]

# Usual names of files that are already split, per convention: train, valid, test. Of several names
# for one part, the first that exists counts.
_LAYOUTS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("train.txt",), ("valid.txt", "val.txt", "validation.txt"), ("test.txt",)),
    (("train_full.txt", "*_train_full.txt"), (), ("test.txt", "*_test.txt")),
    (("*.train.rating",), ("*.valid.rating",), ("*.test.negative",)),
    (
        ("trnMat.npz", "train.npz"),
        ("valMat.npz", "valid.npz", "val.npz"),
        ("tstMat.npz", "test.npz"),
    ),
    (("user_train_matrix.npz",), ("user_val_matrix.npz",), ("user_test_matrix.npz",)),
    (
        ("train_data.json", "train.json"),
        ("validation_data.json", "valid.json"),
        ("test_data.json", "test.json"),
    ),
    (
        ("*.part1.inter", "*.train.inter"),
        ("*.part2.inter", "*.valid.inter"),
        ("*.part3.inter", "*.test.inter"),
    ),
    (
        ("train_list.npy", "train.npy"),
        ("valid_list.npy", "valid.npy", "val.npy"),
        ("test_list.npy", "test.npy"),
    ),
    (("train.parquet",), ("valid.parquet", "val.parquet"), ("test.parquet",)),
    (("train.csv", "train.tsv"), ("valid.csv", "valid.tsv", "val.csv"), ("test.csv", "test.tsv")),
)
_OF_ENDING = {".parquet": "parquet", ".pq": "parquet", ".npz": "npz", ".npy": "npy"} | {
    ".json": "json-lists"
}
_UNREADABLE = (".pkl", ".pickle", ".zip", ".xlsx", ".h5", ".mat")
_SHOWN = 8  # names of files in an error


def locate(path: str | None, given: Mapping[str, str], *, whole: bool = False) -> dict[str, Path]:
    """Return the files of a source by part.

    Args:
        path: a file, a folder, or the common beginning of the names of files that are already
            split.
        given: files that are already split by part, relative to `path`.
        whole: a folder is one table, even if it holds files that look like a split.

    Returns:
        "all", or "train" with "valid" and "test" for a source that is already split.

    Raises:
        InputError: nothing is given, a path does not exist, or a folder holds several files whose
            names do not say which part they are.
    """
    base = Path(path).expanduser() if path else None
    if given:
        return _given_files(base, given)
    if base is None:
        raise InputError(
            "neither source nor path nor train is given",
            place="[data]",
            remedy='write source = "online-retail", or path = "interactions.csv"',
        )
    if base.is_file():
        return {"all": base}
    parts = {} if whole else _split_files(base)
    if parts:
        return parts
    require(base)
    if whole or parquet_files(base):
        return {"all": base}
    files = sorted(p for p in base.iterdir() if p.is_file() and not p.name.startswith("."))
    if len(files) == 1:
        return {"all": files[0]}
    if not files:
        raise InputError("the folder holds no file", place=str(base), remedy="check the path")
    raise InputError(
        f"the folder holds {len(files)} files: {listing(base)}",
        place=str(base),
        remedy="give the file as path, or presplit files as train, valid, test",
    )


def _given_files(base: Path | None, given: Mapping[str, str]) -> dict[str, Path]:
    """Return the files that the settings name."""
    if "train" not in given:
        raise InputError(
            f"{' and '.join(given)} without train", place="[data]", remedy="give train too"
        )
    if base is None:
        return {part: Path(name).expanduser() for part, name in given.items()}
    folder = base if base.is_dir() else base.parent
    return {part: folder / name for part, name in given.items()}


def _split_files(base: Path) -> dict[str, Path]:
    """Return files with the usual names of a split, in a folder or with a common beginning."""
    prefix = "" if base.is_dir() else f"{base.name}."
    folder = base if base.is_dir() else base.parent
    if not folder.is_dir():
        return {}
    for layout in _LAYOUTS:
        parts: dict[str, Path] = {}
        for part, patterns in zip(("train", "valid", "test"), layout, strict=True):
            for pattern in patterns:
                if prefix and not pattern.startswith("*"):
                    continue
                matching = [
                    file
                    for file in folder.iterdir()
                    if file.match(pattern) and file.name.startswith(prefix)
                ]
                if len(matching) == 1:
                    parts.setdefault(part, matching[0])
        if "train" in parts and "test" in parts:
            return parts
    return {}


def guess(path: Path, *, table: bool = False, others: Sequence[Path] = ()) -> str:
    """Return the format of a file, recognised by its name and its first lines.

    Args:
        path: of the file.
        table: the settings say that it has columns; decides if lines of numbers could be either.
        others: further files of the same format, such as the other parts of a split.

    Raises:
        InputError: the file does not exist, has no known format, or could be a table or lists.
    """
    require(path)
    if path.is_dir():
        return "parquet"
    name = stem(path)
    ending = Path(name).suffix
    if ending in _OF_ENDING:
        return _OF_ENDING[ending]
    if re.search(r"\.(rating|negative|noisy)$", name):
        return "noise-flag"
    if name == "users.dat":
        return "users-dat"
    first = [line for line in head(path) if line.strip()]
    if re.search(r"\bx_label\b", first[0]):
        return "x-label"
    if ending == ".inter" or re.search(r":(token|float)(_seq)?\b", first[0]):
        return "inter"
    if ending in (".csv", ".tsv"):
        return "csv"
    if all(re.fullmatch(r"\s*\d+(\s+\d+)*\s*", line) for line in first):
        return _guess_numbers(path, first, table=table, others=others)
    if path.suffix.lower() in _UNREADABLE:
        raise InputError(
            f"{path.suffix} is not a format that can be read",
            place=str(path),
            remedy="give CSV, Parquet, .inter, adjacency lists, users.dat, .npz or .npy",
        )
    return "csv"


def _guess_numbers(path: Path, first: Sequence[str], *, table: bool, others: Sequence[Path]) -> str:
    """Return whether lines of integers are a table without header, or lists of items.

    Lines of equal length with at most four numbers are a table: user, item, weight, time. With more
    numbers they could be either. Lists have different lengths, and no user has two.

    Args:
        path: of the file.
        first: its first lines.
        table: the settings say that it has columns.
        others: further files of the same format.

    Raises:
        InputError: they could be either.
    """
    rows = [_numbers(line) for line in first]
    if len({len(row) for row in rows}) == 1:
        if len(rows[0]) <= 4 or table:
            return "csv"
        rows = [_numbers(line) for line in lines(path) if line.strip()]
        other_rows = [_numbers(line) for part in others for line in lines(part) if line.strip()]
        if len({len(row) for row in (*rows, *other_rows)}) == 1:
            raise InputError(
                f"every line has {len(rows[0])} numbers: a table without header, or lists of items",
                place=str(path),
                remedy="say which: user = 0, item = 1 and the positions of others, "
                'or format = "adjacency"',
            )
    if all(len(row) == _first_number(row) + 1 for row in rows):
        return "users-dat"
    repeated = [user for user, times in Counter(row[0] for row in rows).items() if times > 1]
    if repeated and table:
        return "csv"
    if repeated:
        lengths = [len(row) for row in rows]
        raise InputError(
            f"lines of {min(lengths)} to {max(lengths)} numbers, "
            f"and several begin with {repeated[0]}: a table with gaps, or lists of items",
            place=str(path),
            remedy='give a table as many values on every line, or set format = "adjacency"',
        )
    return "adjacency"


def _numbers(line: str) -> list[str]:
    """Return the numbers of a line; text separated by tabs may have empty fields."""
    return line.strip("\r\n ").split("\t") if "\t" in line.strip() else line.split()


def _first_number(row: Sequence[str]) -> int:
    """Return the first number of a line, -1 if it is empty."""
    return int(row[0]) if row[0].strip().isdigit() else -1


def listing(folder: Path) -> str:
    """Return the first names of the files in a folder."""
    return shortened(sorted(p.name for p in folder.iterdir()))


def shortened(names: Sequence[str]) -> str:
    """Return the first of some names, with dots for the others."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
