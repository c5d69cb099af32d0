"""The encoder that made a feature table, stored next to it.

New items are encoded with it exactly as the items of training were. `text.parquet` has
`text.encoder.safetensors` next to it: the options and the fitted plain values as JSON, and the
fitted arrays. Both files hold the encoder's id, and so does every table it makes of other items.
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

from recsys.errors import InputError, first_line
from recsys.files import sha256_of

__all__ = [
    "KEY",
    "PATH_OPTIONS",
    "Encoder",
    "encoder_of",
    "encoder_path",
    "read_encoder",
    "sha256_of_files",
]

KEY = "recsys.encoder"  # of the id, in the metadata of Parquet
# Options that name a location and do not change the vectors.
PATH_OPTIONS = ("item", "images", "encoder", "weights")
_REMEDY = "make the table again by `recsys data features`, which keeps its encoder"


@dataclass(frozen=True, eq=False)
class Encoder:
    """What decides how vectors are made.

    Args:
        options: of `recsys data features`, plain values; the id ignores those in `PATH_OPTIONS`.
        fitted: plain values from the items: terms, means, categories; or the digest of the weights.
        arrays: fitted arrays by name.
    """

    options: Mapping[str, Any]
    fitted: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything that decides the vectors."""
        options = {key: value for key, value in self.options.items() if key not in PATH_OPTIONS}
        plain = _plain(options, self.fitted)
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the encoder as safetensors."""
        metadata = {"recsys": json.dumps(_plain(self.options, self.fitted))}
        path.write_bytes(safetensors.numpy.save(dict(self.arrays), metadata=metadata))


def _plain(options: Mapping[str, Any], fitted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the JSON of an encoder; its keys are part of the file format and of the id."""
    return {"asked": dict(options), "found": dict(fitted)}


def encoder_path(table: Path) -> Path:
    """Return the path of the encoder of a feature table."""
    return table.with_suffix(".encoder.safetensors")


def read_encoder(table: Path) -> Encoder:
    """Return the encoder that made a feature table.

    Raises:
        InputError: the table or its encoder does not exist; the encoder is damaged, or made another
            table.
    """
    if not table.is_file():
        raise InputError(
            "no such file",
            place=str(table),
            remedy="give the feature table that `recsys data features` made",
        )
    path = encoder_path(table)
    if not path.is_file():
        raise InputError(
            f"the encoder of the table is missing: {path.name} does not exist",
            place=str(table),
            remedy=_REMEDY,
        )
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            plain = json.loads((file.metadata() or {})["recsys"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        encoder = Encoder(dict(plain["asked"]), dict(plain["found"]), arrays)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"not an encoder of features: {first_line(error)}", place=str(path), remedy=_REMEDY
        ) from None
    if encoder.id != encoder_of(table):
        raise InputError(f"did not make {table.name}", place=str(path), remedy=_REMEDY)
    return encoder


def encoder_of(table: Path) -> str | None:
    """Return the id of the encoder that made a Parquet file, None if the file does not name it."""
    try:
        return pl.read_parquet_metadata(table).get(KEY)
    except (pl.exceptions.PolarsError, OSError):
        return None


def sha256_of_files(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder with their relative paths.

    Raises:
        InputError: the path does not exist or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            "no such file or folder",
            place=str(path),
            remedy="check the path; nothing is downloaded",
        )
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(f"{file.relative_to(path)} {sha256_of(file)}\n".encode())
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}",
            place=str(path),
            remedy="check its permissions",
        ) from None
    return digest.hexdigest()
