"""Local copies of data sets: each in a folder of its own, complete or absent, with checksums."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from recsys.data.catalog.downloads import ROOM, Progress, download, locked
from recsys.data.catalog.entries import File
from recsys.data.catalog.folders import data_folder
from recsys.data.catalog.unpacking import unpack
from recsys.errors import InputError
from recsys.files import disk_error, write_text

__all__ = ["checksums", "checksums_path", "download_files"]


def download_files(name: str, files: Sequence[File], progress: Progress | None = None) -> Path:
    """Download and unpack the files of a data set into its folder.

    The folder appears when all files are complete and all checksums are right, never before. If the
    only file is an archive, it is unpacked into the folder; several archives each get a subfolder.
    Of several processes, one downloads and the others wait.

    Args:
        name: of the data set.
        files: to download.
        progress: called with the bytes of the current file so far, and its size if known.

    Returns:
        The folder of the data set.

    Raises:
        InputError: as `download` and `unpack`, or a file differs from the one downloaded first.
    """
    folder = data_folder() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if not folder.is_dir():
                _download_into(folder, name, files, progress)
    except OSError as error:
        raise disk_error(error, folder, ROOM) from None
    return folder


def checksums(name: str) -> dict[str, str]:
    """Return the recorded SHA-256 of each file of a data set, by file name.

    They are recorded at the first download on this machine; later downloads must match.

    Raises:
        InputError: the file of checksums is damaged.
    """
    path = checksums_path(name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = [line.split("  ", 1) for line in lines if line.strip()]
    if not all(len(pair) == 2 and re.fullmatch(r"[0-9a-f]{64}", pair[0]) for pair in pairs):
        raise InputError(
            "not a list of checksums",
            place=str(path),
            remedy="delete it; it is written again at the next download",
        )
    return {file: digest for digest, file in pairs}


def checksums_path(name: str) -> Path:
    """Return the file of a data set's checksums: next to its folder, in the format of sha256sum."""
    return data_folder() / f"{name}.sha256"


def _download_into(
    folder: Path, name: str, files: Sequence[File], progress: Progress | None
) -> None:
    """Download the files, unpack them into a temporary folder, and rename it to `folder`."""
    incoming = folder.with_name(f".{folder.name}.incoming")
    complete = folder.with_name(f".{folder.name}.new")
    recorded = checksums(name)
    digests: dict[str, str] = {}
    for file in files:
        digests[file.name] = _download_one(name, file, incoming, recorded, progress)
    shutil.rmtree(complete, ignore_errors=True)
    if len(files) > 1 or not any(file.unpack for file in files):
        complete.mkdir()
    for file in files:
        source = incoming / file.name
        if not file.unpack:
            os.replace(source, complete / file.name)
        elif len(files) == 1:
            unpack(source, complete)
        else:
            unpack(source, complete / file.name.partition(".")[0])
    lines = "".join(f"{digest}  {file}\n" for file, digest in (recorded | digests).items())
    write_text(checksums_path(name), lines)
    os.replace(complete, folder)
    shutil.rmtree(incoming, ignore_errors=True)


def _download_one(
    name: str, file: File, incoming: Path, recorded: dict[str, str], progress: Progress | None
) -> str:
    """Download a file into the folder `incoming` and return its SHA-256."""
    expected = file.sha256 or recorded.get(file.name)
    try:
        return download(file.url, incoming / file.name, expected, progress=progress).sha256
    except InputError as error:
        if file.sha256 or "SHA-256" not in error.cause:
            raise
        remedy = (
            "the publisher has replaced it since the first download here; "
            f"to accept the new file, delete {checksums_path(name)}"
        )
        raise InputError(error.cause, place=error.place, remedy=remedy) from None
