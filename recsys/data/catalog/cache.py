"""Downloads on this machine: each data set in a folder of its own, whole or not at all, with the checksums it came with."""

from __future__ import annotations

import os
import re
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from recsys.config import settings
from recsys.data.catalog.download import ROOM, Progress, fetch, locked
from recsys.data.catalog.unpack import unpack
from recsys.errors import InputError
from recsys.files import disk_error, write_text

__all__ = ["File", "bring", "data_folder", "home", "record", "recorded"]


@settings
class File:
    """One download.

    Args:
        url: http, https or file.
        sha256: published checksum; None: recorded at the first download, compared at later ones.
        size: bytes, for information.
        unpack: it is an archive.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False

    @property
    def name(self) -> str:
        """What it is called on the disk."""
        name = Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name
        return name if name.strip(".") else "download"


def data_folder() -> Path:
    """Where downloads go: $RECSYS_HOME/data, else $XDG_CACHE_HOME/recsys/data, else ~/.cache/recsys/data."""
    return home("XDG_CACHE_HOME", ".cache", "data")


def home(variable: str, default: str, leaf: str) -> Path:
    """A folder of ours: $RECSYS_HOME/leaf, else ${variable}/recsys/leaf, else ~/default/recsys/leaf."""
    if root := os.environ.get("RECSYS_HOME"):
        return Path(root).expanduser().absolute() / leaf
    return Path(os.environ.get(variable) or Path.home() / default) / "recsys" / leaf


def bring(name: str, files: Sequence[File], progress: Progress | None = None) -> Path:
    """Download the files of a data set into its folder, which appears when everything is there and every checksum right.

    An archive that is the only file is unpacked into the folder itself, several each into a folder named after it.

    Raises:
        InputError: as `fetch` and `unpack`, or a file differs from the one that was downloaded first.
    """
    folder = data_folder() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if not folder.is_dir():
                _bring(name, files, folder, progress)
    except OSError as error:
        raise disk_error(error, folder, ROOM) from None
    return folder


def _bring(name: str, files: Sequence[File], folder: Path, progress: Progress | None) -> None:
    incoming, new = (folder.with_name(f".{folder.name}.{word}") for word in ("incoming", "new"))
    trusted, sums = recorded(name), {}
    for file in files:
        try:
            sums[file.name] = fetch(
                file.url,
                incoming / file.name,
                file.sha256 or trusted.get(file.name),
                progress=progress,
            ).sha256
        except InputError as error:
            if file.sha256 or "SHA-256" not in error.cause:
                raise
            remedy = f"the publisher has replaced it since the first download here; if that is well, delete {record(name)}"
            raise InputError(error.cause, place=error.place, remedy=remedy) from None
    shutil.rmtree(new, ignore_errors=True)
    archives = [file for file in files if file.unpack]
    if len(files) > 1 or not archives:
        new.mkdir()
    for file in files:
        if file.unpack:
            unpack(
                incoming / file.name, new if len(files) == 1 else new / file.name.partition(".")[0]
            )
        else:
            os.replace(incoming / file.name, new / file.name)
    lines = "".join(f"{value}  {file}\n" for file, value in (trusted | sums).items())
    write_text(record(name), lines)
    os.replace(new, folder)
    shutil.rmtree(incoming, ignore_errors=True)


def recorded(name: str) -> dict[str, str]:
    """SHA-256 of the files of a data set, by file name, as they were at the first download here."""
    try:
        lines = record(name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    found = [line.split("  ", 1) for line in lines if line.strip()]
    if not all(len(pair) == 2 and re.fullmatch(r"[0-9a-f]{64}", pair[0]) for pair in found):
        raise InputError(
            "not a list of checksums",
            place=str(record(name)),
            remedy="delete it; it is written again at the next download",
        )
    return {pair[1]: pair[0] for pair in found}


def record(name: str) -> Path:
    """Where the checksums of a data set are kept: beside its folder, in the form that `sha256sum` reads."""
    return data_folder() / f"{name}.sha256"
