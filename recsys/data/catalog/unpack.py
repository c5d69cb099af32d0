"""Archives into folders, whole or not at all.

What is in them is not trusted: sizes are counted while bytes come out, not believed from a header; an archive may neither
write outside its folder nor bring links, devices or a flood of files.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from recsys.data.catalog.download import CHUNK, GIB, ROOM
from recsys.errors import InputError
from recsys.files import disk_error

__all__ = ["unpack"]

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    struct.error,
    ValueError,
)
_STREAMS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open))


def unpack(
    archive: str | Path, folder: str | Path, *, max_bytes: int = 32 * GIB, max_files: int = 100_000
) -> Path:
    """Open an archive into a new folder, which appears when everything is in it.

    What it is (zip; tar, plain or in gz, bz2 or xz; a single file in gz, bz2 or xz) is told by its content, not its name.
    Owners, modes and times are not taken over.

    Args:
        archive: the file.
        folder: must not exist, or be empty.
        max_bytes: most bytes that may come out, counted as they come.
        max_files: most files and folders that may come out.

    Raises:
        InputError: a damaged or cut archive; an entry that is absolute, climbs out of the folder, names a drive, is a link,
            a device or encrypted, or comes twice; more bytes or files than allowed. Nothing is left behind.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "is there already", place=str(folder), remedy="remove it, or unpack into another folder"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise disk_error(error, folder, ROOM) from None
    try:
        out = _Out(place, archive, max_bytes, max_files)
        _open(archive, out)
        place.chmod(0o755)
        os.replace(place, folder)
    except OSError as error:
        if error.errno is not None:
            raise disk_error(error, folder, ROOM) from None
        raise _damaged(error, archive) from None  # what gzip and bz2 say of bad bytes
    except _DAMAGED as error:
        raise _damaged(error, archive) from None
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression; a password
        raise InputError(
            f"cannot be opened: {error}", place=str(archive), remedy="unpack it by hand"
        ) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return folder


def _damaged(error: Exception, archive: Path) -> InputError:
    return InputError(
        f"damaged or cut archive: {error}", place=str(archive), remedy="fetch it again"
    )


class _Out:
    """Where entries go: checks every name, counts every byte."""

    def __init__(self, root: Path, archive: Path, max_bytes: int, max_files: int) -> None:
        self.root, self.archive, self.bytes_left, self.files_left = (
            root,
            archive,
            max_bytes,
            max_files,
        )
        self.max_bytes, self.max_files = max_bytes, max_files

    def refuse(self, cause: str) -> InputError:
        return InputError(
            cause,
            place=str(self.archive),
            remedy="nothing was unpacked; get the archive from a source that you trust",
        )

    def _place(self, name: str) -> Path:
        self.files_left -= 1
        if self.files_left < 0:
            raise self.refuse(f"more than {self.max_files:,} files")
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if (
            not parts
            or name.startswith(("/", "\\"))
            or ".." in parts
            or ":" in parts[0]
            or "\0" in name
        ):
            raise self.refuse(f"entry {name!r} leads out of the folder")
        return self.root.joinpath(*parts)

    def folder(self, name: str) -> None:
        if PurePosixPath(name).parts:  # "./" is the folder itself
            with self._once(name):
                self._place(name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, data: IO[bytes]) -> None:
        path = self._place(name)
        with self._once(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "xb")  # noqa: SIM115  closed below; what goes wrong while reading is another matter
        with file:
            while chunk := data.read(CHUNK):
                self.bytes_left -= len(chunk)
                if self.bytes_left < 0:
                    raise self.refuse(f"more than {self.max_bytes:,} bytes come out of it")
                file.write(chunk)

    @contextlib.contextmanager
    def _once(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self.refuse(f"entry {name!r} comes twice") from None


def _open(archive: Path, out: _Out) -> None:
    with open(archive, "rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic[:4] in (b"PK\3\4", b"PK\5\6"):
            with zipfile.ZipFile(file) as opened:
                _unzip(opened, out)
            return
        opener: Any = next((opener for start, opener in _STREAMS if magic.startswith(start)), None)
        with opener(file) if opener else contextlib.nullcontext(file) as stream:
            if _is_tar(stream):
                _untar(_Bounded(stream, out), out)
            elif opener:
                out.file(
                    archive.stem
                    if archive.suffix.lower() in (".gz", ".bz2", ".xz")
                    else archive.name,
                    stream,
                )
            else:
                raise InputError(
                    "no archive that is known here",
                    place=str(archive),
                    remedy="zip, tar, gz, bz2 and xz are",
                )


def _unzip(opened: zipfile.ZipFile, out: _Out) -> None:
    entries = opened.infolist()
    if len(entries) > out.max_files:
        raise out.refuse(f"more than {out.max_files:,} files")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
        if entry.is_dir():
            out.folder(entry.orig_filename)
        elif kind in (0, stat.S_IFREG):
            with opened.open(entry) as data:
                out.file(entry.orig_filename, data)
        else:
            raise out.refuse(f"entry {entry.filename!r} is a link or a device")


def _untar(stream: _Bounded, out: _Out) -> None:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as opened:  # type: ignore[call-overload]
        for entry in opened:
            if entry.isdir():
                out.folder(entry.name)
            elif entry.isreg() and (data := opened.extractfile(entry)) is not None:
                with data:
                    out.file(entry.name, data)
            else:
                raise out.refuse(f"entry {entry.name!r} is a link or a device")
    while stream.read(CHUNK):
        pass
    if stream.tail.count(0) < 512:
        raise tarfile.ReadError("it does not end as an archive does")


def _is_tar(stream: Any) -> bool:
    head = stream.read(512)
    stream.seek(0)
    return len(head) == 512 and head[257:262] == b"ustar"


class _Header(tarfile.TarInfo):
    """A header whose long names stay short: the module reads them into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and header.size > 1 << 20:
            raise tarfile.ReadError("a header is larger than any name")
        return header


class _Bounded:
    """A stream that ends the reading of an archive once more has come out of it than its files may hold."""

    def __init__(self, stream: Any, out: _Out) -> None:
        self.stream, self.out, self.tail = stream, out, b""
        self.left = out.max_bytes + 4096 * (out.max_files + 16)  # headers and padding

    def read(self, size: int) -> bytes:
        data: bytes = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise self.out.refuse(f"more than {self.out.max_bytes:,} bytes come out of it")
        self.tail = (self.tail + data)[-512:]
        return data
