"""Which files a source means, and in which format they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from recsys.data.reading.table import head, lines, parquet_files, require, stem
from recsys.errors import InputError

__all__ = ["Format", "guess", "listing", "locate"]

Format = Literal[
    "auto",
    "csv",
    "parquet",
    "inter",
    "adjacency",
    "users-dat",
    "x-label",
    "noise-flag",
    "npz",
    "npy",
    "json-lists",
]

# Folders whose file names say which part is which: train, valid, test; the first file that exists counts.
_LAYOUTS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("train.txt",), ("valid.txt", "val.txt", "validation.txt"), ("test.txt",)),
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


def locate(path: str | None, given: Mapping[str, str], *, whole: bool = False) -> dict[str, Path]:
    """The files by part: "all", or "train" with "valid" and "test" where the source is split already.

    Args:
        path: a file, a folder, or the beginning of the names of presplit files.
        given: presplit files by part, seen from `path`.
        whole: a folder is one table in many Parquet files, whatever else lies there.

    Raises:
        InputError: nothing is given, nothing is there, or a folder holds several files and none says which part it is.
    """
    base = Path(path).expanduser() if path else None
    if given:
        if "train" not in given:
            raise InputError(
                f"{' and '.join(given)} without train", place="[data]", remedy="give train too"
            )
        folder = base if base and base.is_dir() else base.parent if base else None
        return {
            name: folder / value if folder else Path(value).expanduser()
            for name, value in given.items()
        }
    if base is None:
        raise InputError(
            "neither source nor path nor train is given",
            place="[data]",
            remedy='write source = "online-retail", or path = "interactions.csv"',
        )
    if base.is_file():
        return {"all": base}
    found = {} if whole else _layout(base)
    if found:
        return found
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


def guess(path: Path, *, table: bool = False, beside: Sequence[Path] = ()) -> Format:
    """Return the format of a file, told from its name and its first lines.

    Args:
        path: of the file.
        table: it is said to have columns, which decides where lines of numbers may be either.
        beside: files of the same format, as the other parts of presplit data.

    Raises:
        InputError: there is no such file, it looks like none of the formats, or it may be a table or lists.
    """
    require(path)
    if path.is_dir():
        return "parquet"
    name = stem(path)
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    if name.endswith(".npz"):
        return "npz"
    if name.endswith(".npy"):
        return "npy"
    if name.endswith(".json"):
        return "json-lists"
    if re.search(r"\.(rating|negative|noisy)$", name):
        return "noise-flag"
    if name == "users.dat":
        return "users-dat"
    first = [line for line in head(path) if line.strip()]
    if re.search(r"\bx_label\b", first[0]):
        return "x-label"
    if name.endswith(".inter") or re.search(r":(token|float)(_seq)?\b", first[0]):
        return "inter"
    if name.endswith((".csv", ".tsv")):
        return "csv"
    if all(re.fullmatch(r"\s*\d+(\s+\d+)*\s*", line) for line in first):
        return _guess_numbers(path, first, table=table, beside=beside)
    if path.suffix.lower() in (".pkl", ".pickle", ".zip", ".xlsx", ".h5", ".mat"):
        raise InputError(
            f"{path.suffix} is not a format that can be read",
            place=str(path),
            remedy="give CSV, Parquet, .inter, adjacency lists, users.dat, .npz or .npy",
        )
    return "csv"


def _guess_numbers(
    path: Path, first: Sequence[str], *, table: bool, beside: Sequence[Path]
) -> Format:
    """Whether lines of whole numbers are a table without header, or lists of items.

    Lines of one length are a table where they may be user item weight time; with more numbers they may be either.
    Lists are of several lengths, and no user has two.

    Raises:
        InputError: they may be either.
    """
    rows = [_numbers(line) for line in first]
    if len({len(row) for row in rows}) == 1:
        if len(rows[0]) <= 4 or table:
            return "csv"
        rows = [_numbers(line) for line in lines(path) if line.strip()]
        others = [_numbers(line) for part in beside for line in lines(part) if line.strip()]
        if len({len(row) for row in (*rows, *others)}) == 1:
            raise InputError(
                f"every line has {len(rows[0])} numbers: a table without header, or lists of items",
                place=str(path),
                remedy='say which: user = 0, item = 1 and the positions of others, or format = "adjacency"',
            )
    if all(len(row) == _count(row) + 1 for row in rows):
        return "users-dat"
    twice = [user for user, times in Counter(row[0] for row in rows).items() if times > 1]
    if twice and table:
        return "csv"
    if twice:
        raise InputError(
            f"lines of {min(map(len, rows))} to {max(map(len, rows))} numbers, and several begin with {twice[0]}: "
            "a table with gaps, or lists of items",
            place=str(path),
            remedy='give a table as many values on every line, or set format = "adjacency"',
        )
    return "adjacency"


def _numbers(line: str) -> list[str]:
    """The numbers of a line; between tabs there may be none."""
    return line.strip("\r\n ").split("\t") if "\t" in line.strip() else line.split()


def _count(row: Sequence[str]) -> int:
    """The first number of a line; -1 where it is empty."""
    return int(row[0]) if row[0].strip().isdigit() else -1


def _layout(base: Path) -> dict[str, Path]:
    """Presplit files whose names are known, in a folder or with the same beginning."""
    folder, prefix = (base, "*") if base.is_dir() else (base.parent, base.name)
    if not folder.is_dir():
        return {}
    for layout in _LAYOUTS:
        parts: dict[str, Path] = {}
        for name, patterns in zip(("train", "valid", "test"), layout, strict=True):
            for pattern in patterns:
                if not base.is_dir() and not pattern.startswith("*"):
                    continue
                hits = sorted(
                    p
                    for p in folder.iterdir()
                    if p.match(pattern) and (prefix == "*" or p.name.startswith(prefix + "."))
                )
                if len(hits) == 1:
                    parts.setdefault(name, hits[0])
        if "train" in parts and "test" in parts:
            return parts
    return {}


def listing(folder: Path) -> str:
    """The first names in a folder."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
