"""Archives into folders, complete or absent.

The content of an archive is not trusted. Sizes are counted while bytes come out, not believed from
a header. An archive cannot write outside its folder, nor bring links, devices or a flood of files.
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

from recsys.data.catalog.transfer import CHUNK, GIB, ROOM
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
    """Unpack an archive into a new folder, which appears when it is complete.

    The kind of archive is recognised by its content, not its name: zip; tar, plain or in gz, bz2 or
    xz; a single file in gz, bz2 or xz. Owners, modes and times are not restored.

    Args:
        archive: the file.
        folder: must not exist, or be empty.
        max_bytes: most bytes that may come out, counted as they come.
        max_files: most files and folders that may come out.

    Returns:
        The folder.

    Raises:
        InputError: the archive is damaged or cut; an entry is absolute, leads out of the folder,
            names a drive, is a link, a device or encrypted, or comes twice; there are more bytes or
            files than allowed. Nothing is left behind.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "the folder already exists",
            place=str(folder),
            remedy="remove it, or unpack into another folder",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise disk_error(error, folder, ROOM) from None
    try:
        _open(archive, _Output(incoming, archive, max_bytes, max_files))
        incoming.chmod(0o755)
        os.replace(incoming, folder)
    except OSError as error:
        if error.errno is not None:
            raise disk_error(error, folder, ROOM) from None
        raise _damaged(error, archive) from None  # gzip and bz2 raise it for bad bytes
    except _DAMAGED as error:
        raise _damaged(error, archive) from None
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression; a password
        raise InputError(
            f"cannot be opened: {error}", place=str(archive), remedy="unpack it by hand"
        ) from None
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return folder


def _damaged(error: Exception, archive: Path) -> InputError:
    return InputError(
        f"damaged or cut archive: {error}", place=str(archive), remedy="fetch it again"
    )


class _Output:
    """The folder that entries are written to: every name is checked, every byte is counted."""

    def __init__(self, root: Path, archive: Path, max_bytes: int, max_files: int) -> None:
        self.root = root
        self.archive = archive
        self.max_bytes = max_bytes
        self.max_files = max_files
        self.bytes_left = max_bytes
        self.files_left = max_files

    def refuse(self, cause: str) -> InputError:
        """Return the error for an archive that cannot be trusted."""
        return InputError(
            cause,
            place=str(self.archive),
            remedy="nothing was unpacked; get the archive from a source that you trust",
        )

    def folder(self, name: str) -> None:
        """Create the folder of an entry.

        Raises:
            InputError: a bad name, too many entries, or a file of the same name.
        """
        if PurePosixPath(name).parts:  # "./" is the root itself
            with self._once(name):
                self._path(name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, data: IO[bytes]) -> None:
        """Write the file of an entry.

        Raises:
            InputError: a bad name, too many entries or bytes, or an entry of the same name.
        """
        path = self._path(name)
        with self._once(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Closed below: errors while reading are not of this name.
            file = open(path, "xb")  # noqa: SIM115
        with file:
            while chunk := data.read(CHUNK):
                self.bytes_left -= len(chunk)
                if self.bytes_left < 0:
                    raise self.too_many_bytes()
                file.write(chunk)

    def too_many_bytes(self) -> InputError:
        """Return the error for more bytes than allowed."""
        return self.refuse(f"more than {self.max_bytes:,} bytes come out of it")

    def too_many_files(self) -> InputError:
        """Return the error for more entries than allowed."""
        return self.refuse(f"more than {self.max_files:,} files")

    def _path(self, name: str) -> Path:
        """Return the path of an entry.

        Raises:
            InputError: the name leads out of the folder, or there are too many entries.
        """
        self.files_left -= 1
        if self.files_left < 0:
            raise self.too_many_files()
        parts = PurePosixPath(name.replace("\\", "/")).parts
        absolute = name.startswith(("/", "\\"))
        if not parts or absolute or ".." in parts or ":" in parts[0] or "\0" in name:
            raise self.refuse(f"entry {name!r} leads out of the folder")
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def _once(self, name: str) -> Iterator[None]:
        """Refuse an entry whose path exists already.

        Raises:
            InputError: it does.
        """
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self.refuse(f"entry {name!r} comes twice") from None


def _open(archive: Path, output: _Output) -> None:
    """Write the entries of an archive of any kind.

    Raises:
        InputError: an unknown kind of archive, or as `_Output`.
    """
    with open(archive, "rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic[:4] in (b"PK\3\4", b"PK\5\6"):
            with zipfile.ZipFile(file) as opened:
                _unzip(opened, output)
            return
        opener: Any = next((opener for start, opener in _STREAMS if magic.startswith(start)), None)
        with opener(file) if opener else contextlib.nullcontext(file) as stream:
            if _is_tar(stream):
                _untar(_Bounded(stream, output), output)
            elif opener:
                compressed = archive.suffix.lower() in (".gz", ".bz2", ".xz")
                output.file(archive.stem if compressed else archive.name, stream)
            else:
                raise InputError(
                    "not an archive of a known kind",
                    place=str(archive),
                    remedy="known kinds are zip, tar, gz, bz2 and xz",
                )


def _unzip(opened: zipfile.ZipFile, output: _Output) -> None:
    entries = opened.infolist()
    if len(entries) > output.max_files:
        raise output.too_many_files()
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
        if entry.is_dir():
            output.folder(entry.orig_filename)
        elif kind in (0, stat.S_IFREG):
            with opened.open(entry) as data:
                output.file(entry.orig_filename, data)
        else:
            raise output.refuse(f"entry {entry.filename!r} is a link or a device")


def _untar(stream: _Bounded, output: _Output) -> None:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as opened:  # type: ignore[call-overload]
        for entry in opened:
            if entry.isdir():
                output.folder(entry.name)
            elif entry.isreg() and (data := opened.extractfile(entry)) is not None:
                with data:
                    output.file(entry.name, data)
            else:
                raise output.refuse(f"entry {entry.name!r} is a link or a device")
    while stream.read(CHUNK):
        pass
    if stream.tail.count(0) < 512:
        raise tarfile.ReadError("the end of the archive is missing")


def _is_tar(stream: Any) -> bool:
    head = stream.read(512)
    stream.seek(0)
    return len(head) == 512 and head[257:262] == b"ustar"


class _Header(tarfile.TarInfo):
    """A header of bounded size: the standard library reads long names into memory as a whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read a header.

        Raises:
            tarfile.ReadError: it is larger than any name.
        """
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and header.size > 1 << 20:
            raise tarfile.ReadError("a header is larger than any name")
        return header


class _Bounded:
    """A stream that ends with an error once more comes out of it than the files may hold."""

    def __init__(self, stream: Any, output: _Output) -> None:
        self.stream = stream
        self.output = output
        self.tail = b""  # the last 512 bytes
        # Headers and padding need room too.
        self.left = output.max_bytes + 4096 * (output.max_files + 16)

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            InputError: more bytes than allowed.
        """
        data: bytes = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise self.output.too_many_bytes()
        self.tail = (self.tail + data)[-512:]
        return data
