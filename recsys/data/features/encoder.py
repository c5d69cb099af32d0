"""What made a feature table, kept beside it: items that come later are encoded exactly as its items were.

`text.parquet` has `text.encoder.safetensors` beside it: what was asked for and what was found in the items as JSON, and the arrays that were fitted.
Both files hold the encoder's id, and so does every table that it makes of other items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors
import safetensors.numpy

from recsys.errors import InputError

__all__ = ["KEY", "PLACES", "Encoder", "beside", "digest", "encoder_of", "read_encoder"]

KEY = "recsys.encoder"  # of the id, in the metadata of Parquet
PLACES = (
    "item",
    "images",
    "encoder",
    "weights",
)  # options that say where something lies, not what is made of it


@dataclass(frozen=True, eq=False)
class Encoder:
    """How vectors were made.

    Args:
        asked: the options of `recsys data features`, plain values; of those in `PLACES` the id does not depend.
        found: what was found in the items, plain values: terms, means, kinds; or the digest of weights that were read.
        arrays: what was fitted, by name.
    """

    asked: Mapping[str, Any]
    found: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that decides the vectors."""
        plain = {
            "asked": {name: value for name, value in self.asked.items() if name not in PLACES},
            "found": dict(self.found),
        }
        told = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            told.update(f"{name} {array.dtype} {array.shape}".encode())
            told.update(np.ascontiguousarray(array).data)
        return told.hexdigest()

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        plain = {"asked": dict(self.asked), "found": dict(self.found)}
        path.write_bytes(
            safetensors.numpy.save(dict(self.arrays), metadata={"recsys": json.dumps(plain)})
        )


def beside(table: Path) -> Path:
    """The encoder of a feature table."""
    return table.with_suffix(".encoder.safetensors")


def read_encoder(table: Path) -> Encoder:
    """The encoder that made a feature table.

    Raises:
        InputError: there is no such table, or none beside it, or a damaged one, or that of another table.
    """
    if not table.is_file():
        raise InputError(
            "no such file",
            place=str(table),
            remedy="give the feature table that `recsys data features` made",
        )
    path = beside(table)
    again = "make the table again by `recsys data features`, which keeps its encoder"
    if not path.is_file():
        raise InputError(
            f"has no encoder beside it: {path.name} is not there", place=str(table), remedy=again
        )
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            plain = json.loads((file.metadata() or {})["recsys"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        encoder = Encoder(dict(plain["asked"]), dict(plain["found"]), arrays)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"is no encoder of features: {said}", place=str(path), remedy=again
        ) from None
    if encoder.id != encoder_of(table):
        raise InputError(f"did not make {table.name}", place=str(path), remedy=again)
    return encoder


def encoder_of(table: Path) -> str | None:
    """The id of the encoder that made a Parquet file, None where it does not say."""
    try:
        return pl.read_parquet_metadata(table).get(KEY)
    except (pl.exceptions.PolarsError, OSError):
        return None


def digest(path: str | Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            "no such file or folder",
            place=str(path),
            remedy="say where it is; nothing is downloaded",
        )
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    told = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as opened:
                told.update(
                    f"{file.relative_to(path)} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode()
                )
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}",
            place=str(path),
            remedy="check its permissions",
        ) from None
    return told.hexdigest()
