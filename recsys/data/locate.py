"""Which files a source means, and in which format they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from recsys.data.table import head, require, stem
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
    if whole or any(p.suffix in (".parquet", ".pq") for p in base.rglob("*")):
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


def guess(path: Path) -> Format:
    """The format of a file, told from its name and its first lines.

    Raises:
        InputError: there is no such file, or it looks like none of the formats.
    """
    require(path)
    if path.is_dir():
        return "parquet"
    name = stem(path)
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    if name.endswith(".npz"):
        return "npz"
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
        fields = [line.split() for line in first]
        if (
            len({len(row) for row in fields}) > 1 or len(fields[0]) > 4
        ):  # up to four columns may be a table: user item weight time
            return (
                "users-dat" if all(int(row[0]) == len(row) - 1 for row in fields) else "adjacency"
            )
    if path.suffix.lower() in (".npy", ".pkl", ".pickle", ".zip", ".xlsx", ".h5", ".mat"):
        raise InputError(
            f"{path.suffix} is not a format that can be read",
            place=str(path),
            remedy="give CSV, Parquet, .inter, adjacency lists, users.dat or .npz",
        )
    return "csv"


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
