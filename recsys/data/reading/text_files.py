"""Bytes and lines of files, compressed or not, and the errors of files that cannot be read."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

import polars as pl

from recsys.errors import InputError, first_line
from recsys.files import missing

__all__ = [
    "contents",
    "damaged",
    "first_bad_byte",
    "head",
    "lines",
    "not_utf8",
    "require",
    "stem",
    "unreadable",
]

_COMPRESSED = (".gz", ".xz", ".zst")
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


def stem(path: Path) -> str:
    """Return the name of a file in lower case, without the ending of a compression."""
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in _COMPRESSED else name


def contents(path: Path) -> bytes:
    """Return the bytes of a file, decompressed.

    Raises:
        InputError: the file is missing, unreadable, empty or a damaged archive.
    """
    require(path)
    try:
        data = _decompressed(path)
    except _DAMAGED as error:
        raise damaged(path, error) from None
    except pl.exceptions.NoDataError:
        data = b""
    except pl.exceptions.ComputeError:
        raise InputError("not UTF-8 text", place=str(path), remedy="convert it to UTF-8") from None
    except OSError as error:
        raise _os_error(path, error) from None
    if not data.strip():
        raise _empty(path)
    return data


def _decompressed(path: Path) -> bytes:
    match path.suffix.lower():
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".zst":
            return _decompressed_zst(path)
        case _:
            return path.read_bytes()


def _decompressed_zst(path: Path) -> bytes:
    """Return the bytes of a .zst file; polars decompresses it.

    The separator is a character that does not occur in text, so that lines stay whole.
    """
    buffer = io.BytesIO()
    pl.read_csv(
        path,
        glob=False,
        has_header=False,
        separator="\x01",
        quote_char=None,
        infer_schema=False,
        empty_string_is_null=False,
    ).write_csv(buffer, include_header=False, quote_style="never", separator="\x01")
    return buffer.getvalue()


def head(path: Path, n: int = 50) -> list[str]:
    """Return the first lines of a text file, without reading a plain, gz or xz file to its end.

    Args:
        path: of the file.
        n: number of lines.

    Raises:
        InputError: the file is missing, unreadable, empty, a damaged archive or not UTF-8.
    """
    require(path)
    raw: list[bytes] = []
    try:
        if path.suffix.lower() == ".zst":
            text = pl.read_lines(path, n_rows=n, glob=False)["line"].to_list()
        else:
            with _open(path) as file:
                raw = [line for line, _ in zip(file, range(n), strict=False)]
            text = [line.decode() for line in raw]
    except UnicodeDecodeError:
        data = b"".join(raw)
        raise not_utf8(path, data, first_bad_byte(data)) from None
    except (*_DAMAGED, pl.exceptions.PolarsError) as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise _os_error(path, error) from None
    if text:
        text[0] = text[0].removeprefix("\ufeff")
    text = [line.rstrip("\r\n") for line in text]
    if not any(line.strip() for line in text):
        raise _empty(path)
    return text


def _open(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".xz":
            return lzma.open(path)
        case _:
            return path.open("rb")


def lines(path: Path) -> list[str]:
    """Return the lines of a text file, without blank lines at the end.

    Raises:
        InputError: as `contents`, or a line is not UTF-8.
    """
    data = contents(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, data, error.start) from None
    return text.rstrip().replace("\r\n", "\n").split("\n")


def require(path: Path) -> None:
    """Raise an error if a file or folder does not exist.

    Raises:
        InputError: names the files of the folder.
    """
    if not path.exists():
        raise missing(path)


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error of a file whose content is broken.

    Args:
        path: of the file.
        error: what the library raised.
    """
    return InputError(
        f"the file is damaged or not what its name says ({first_line(error, 120)})",
        place=str(path),
        remedy="fetch or write it again",
    )


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error of a file that the operating system does not open."""
    return InputError(
        f"cannot be read: {error.strerror or error}",
        place=str(path),
        remedy="check the path and its permissions",
    )


def not_utf8(path: Path, data: bytes, offset: int) -> InputError:
    """Return the error of text that is not UTF-8.

    Args:
        path: of the file.
        data: its bytes.
        offset: position of the first byte that is not UTF-8.
    """
    line = data.count(b"\n", 0, offset) + 1
    column = offset - data.rfind(b"\n", 0, offset)
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return InputError(
        f"byte 0x{data[offset]:02x} is not UTF-8"
        + (", the file begins as UTF-16 does" if is_utf16 else ""),
        place=f"{path}, line {line}, byte {column}",
        remedy=f"convert it: iconv -f {'utf-16' if is_utf16 else 'latin1'} -t utf8",
    )


def first_bad_byte(data: bytes) -> int:
    """Return the position of the first byte that is not UTF-8, or -1."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _os_error(path: Path, error: OSError) -> InputError:
    """Return the error of a file; polars reports a damaged .zst file as an OSError."""
    return damaged(path, error) if path.suffix.lower() == ".zst" else unreadable(path, error)


def _empty(path: Path) -> InputError:
    return InputError("the file is empty", place=str(path), remedy="give a file with interactions")
