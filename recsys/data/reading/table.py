"""Tables on disk: delimited text, compressed or not, and Parquet, to frames that still carry the file's own columns.

Whether a field may stand in quotes depends on the separator: between commas, semicolons, bars and blanks it
may, as in RFC 4180; between tabs and `::` a quote is a letter like any other, unless the first line, which
names the columns, has every name in quotes. The setting `quote` has the last word.
"""

from __future__ import annotations

import csv as python_csv
import gzip
import io
import lzma
import mmap
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import polars as pl

from recsys.data.reading.columns import KNOWN, Where, folded, whole_numbers
from recsys.errors import InputError

__all__ = [
    "Table",
    "contents",
    "head",
    "is_number",
    "lines",
    "parquet",
    "parquet_files",
    "scan_text",
    "stem",
]

COMPRESSED = (".gz", ".xz", ".zst")
# Columns of our own beside those of a file, whose names cannot hold a null character.
_SHORT, _FEED = "\0short", "\0feed"


@dataclass(frozen=True, eq=False)
class Table:
    """A file that has been opened and not yet read.

    Args:
        names: its columns; made up, "0", "1", ..., where the file has no header.
        header: whether the file names its columns.
        sample: the first rows, as text where the file has no types.
        collect: reads the named columns.
        where: says where a row stands.
        notes: what was guessed.
        remarks: what `collect` has to say of the rows, once it has read them.
    """

    names: tuple[str, ...]
    header: bool
    sample: pl.DataFrame
    collect: Callable[[Sequence[str]], pl.DataFrame]
    where: Where
    notes: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)


def stem(path: Path) -> str:
    """The file's name in lower case without the ending of its compression."""
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in COMPRESSED else name


def contents(path: Path) -> bytes:
    """The file's bytes, decompressed.

    Raises:
        InputError: the file is missing, unreadable, empty or a damaged archive.
    """
    require(path)
    try:
        match path.suffix.lower():
            case ".gz":
                data = gzip.decompress(path.read_bytes())
            case ".xz":
                data = lzma.decompress(path.read_bytes())
            case ".zst":
                buffer = (
                    io.BytesIO()
                )  # polars decompresses; a separator that no text holds keeps the lines whole
                pl.read_csv(
                    path,
                    glob=False,
                    has_header=False,
                    separator="\x01",
                    quote_char=None,
                    infer_schema=False,
                    empty_string_is_null=False,
                ).write_csv(buffer, include_header=False, quote_style="never", separator="\x01")
                data = buffer.getvalue()
            case _:
                data = path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged(path, error) from None
    except pl.exceptions.NoDataError:
        data = b""
    except pl.exceptions.ComputeError:
        raise InputError("not UTF-8 text", place=str(path), remedy="convert it to UTF-8") from None
    except OSError as error:
        raise (
            damaged(path, error) if path.suffix.lower() == ".zst" else unreadable(path, error)
        ) from None
    if not data.strip():
        raise InputError(
            "the file is empty", place=str(path), remedy="give a file with interactions"
        )
    return data


def head(path: Path, n: int = 50) -> list[str]:
    """The first lines, without reading a plain or gz/xz file to its end; what is not UTF-8 is replaced."""
    require(path)
    try:
        if path.suffix.lower() == ".zst":
            found = pl.read_lines(path, n_rows=n, glob=False)["line"].to_list()
        else:
            with _open(path) as file:
                raw = [line for line, _ in zip(file, range(n), strict=False)]
            found = [line.decode() for line in raw]
    except UnicodeDecodeError:
        data = b"".join(raw)
        raise not_utf8(path, data, _undecodable(data)) from None
    except (
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        pl.exceptions.PolarsError,
    ) as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise (
            damaged(path, error) if path.suffix.lower() == ".zst" else unreadable(path, error)
        ) from None
    if found:
        found[0] = found[0].removeprefix("\ufeff")
    found = [line.rstrip("\r\n") for line in found]
    if not any(line.strip() for line in found):
        raise InputError(
            "the file is empty", place=str(path), remedy="give a file with interactions"
        )
    return found


def _open(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".xz":
            return lzma.open(path)
        case _:
            return path.open("rb")


def lines(path: Path) -> list[str]:
    """The lines of a text file, trailing blank ones left out.

    Raises:
        InputError: as `contents`, or a line is not UTF-8.
    """
    data = contents(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, data, error.start) from None
    return text.rstrip().replace("\r\n", "\n").split("\n")


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written.

    Args:
        separator: one character.
        quote: what a field may stand in; None where nothing quotes.
        multiline: whether a field in quotes may hold a line feed.
    """

    separator: str
    quote: str | None
    multiline: bool

    def reader(
        self, source: Iterator[str] | io.StringIO, *, strict: bool = False
    ) -> Iterator[list[str]]:
        """Return the exact and slow reader of the standard library."""
        if self.quote is None:
            return python_csv.reader(
                source, delimiter=self.separator, quoting=python_csv.QUOTE_NONE
            )
        return python_csv.reader(
            source, delimiter=self.separator, quotechar=self.quote, strict=strict
        )


def scan_text(
    path: Path,
    *,
    separator: str | None = None,
    header: bool | None = None,
    named: bool | None = None,
    quote: str | None = None,
) -> Table:
    """Open delimited text, plain or gz/xz/zst.

    Args:
        separator: one character, or `::`; None looks at the first lines.
        header: whether the first line names the columns; None looks at the first lines.
        named: whether the caller will ask for columns by name (True), which takes a header, or by position (False), which goes with either.
        quote: what a field may stand in; "" where nothing quotes; None as the separator has it.

    Blanks around a value do not count, unless the first lines have quotes: then they are meant.

    Raises:
        InputError: here for what the first lines show; `collect` for a row with too many or too few fields, an unclosed
            quote, a line feed in a field of tab-separated text or a line that is not UTF-8, with its line number.
    """
    first = [line for line in head(path) if line.strip()]
    notes = []
    if separator is None:
        separator = _separator(path, first)
        notes.append(f"separator {separator!r}")
    elif separator not in first[0]:
        raise InputError(
            f"separator {separator!r} does not occur in the first line",
            place=f"{path}, line 1",
            remedy=f"it looks like {_separator(path, first)!r}",
        )
    how = _dialect(path, separator, quote, first[0])
    if how.quote is None and any('"' in line for line in first):
        notes.append("quotes are part of the values")
    rows = _first_rows(path, first, separator, how)
    counted = len(rows[0]) > 2 and _counts_columns(rows[0])
    if header is None:
        header = named or _header(path, rows, by_position=named is False)
        notes.append("with header" if header else "without header")
        if header and counted:
            notes.append("the first line counts the columns, and names none")
    names = (
        tuple(name.strip() for name in rows[0])
        if header
        else tuple(str(i) for i in range(len(rows[0])))
    )
    _no_name_twice(path, names)
    loose = how.quote is None or not any(how.quote in line for line in first)
    below = [
        [cell.strip() if loose else cell for cell in row]
        for row in rows[int(header) :]
        if len(row) == len(names)
    ]
    sample = pl.DataFrame(below, schema=dict.fromkeys(names, pl.String), orient="row")

    source: Path | bytes = path
    if path.suffix.lower() in (".gz", ".xz") or separator == "::":
        source = contents(path)
        if separator == "::":
            source = source.replace(b"::", b"\t")

    remarks: list[str] = []

    def collect(columns: Sequence[str]) -> pl.DataFrame:
        frame = _collect(path, source, how, names, columns, header=header, loose=loose)
        if _FEED in frame.columns and (several := int(frame[_FEED].sum())):
            remarks[:] = [_fed(path, source, how, several)]
        return frame.select(columns)

    def where(row: int) -> str:
        for number, (line, _) in enumerate(
            _records(_bytes(source), how, strict=False), start=-int(header)
        ):
            if number == row:
                return f"{path}, line {line}"
        return f"{path}, row {row + 1}"

    # A first line that only counts names nothing: roles go by position, as without it, the index before it left out.
    shown = names[1:] if header and counted and not names[0] else names
    sample = sample.select(shown)
    return Table(shown, header and not counted, sample, collect, where, tuple(notes), remarks)


def _dialect(path: Path, separator: str, quote: str | None, first: str) -> Dialect:
    """How the text is written, from the settings and the first line."""
    single = "\t" if separator == "::" else separator
    if len(single) != 1:
        raise InputError(
            f"separator {separator!r} is longer than one character",
            place=str(path),
            remedy="use one character, or '::'",
        )
    if quote is None:
        # Every name in quotes: whoever wrote this quotes all texts, as R does.
        named = all(re.fullmatch(r'".+"', cell.strip()) for cell in first.split(separator))
        quote = '"' if single != "\t" or (named and separator == "\t") else ""
    if len(quote) > 1 or quote == single or not quote.isascii():
        raise InputError(
            f"quote = {quote!r}",
            place=str(path),
            remedy='give one character that is not the separator, or quote = "" where nothing quotes',
        )
    return Dialect(single, quote or None, multiline=single != "\t")


def _first_rows(path: Path, first: Sequence[str], separator: str, how: Dialect) -> list[list[str]]:
    """The fields of the first lines."""
    plain = (line.replace("::", "\t") if separator == "::" else line for line in first)
    try:
        return list(how.reader(plain))
    except python_csv.Error as error:  # such as a bare carriage return
        raise InputError(
            f"cannot be parsed: {error}",
            place=str(path),
            remedy="end lines with a line feed, and quote fields that hold one",
        ) from None


def _no_name_twice(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two columns are called '{name}'", place=f"{path}, line 1", remedy="rename one"
            )


def _collect(
    path: Path,
    source: Path | bytes,
    how: Dialect,
    names: Sequence[str],
    columns: Sequence[str],
    *,
    header: bool,
    loose: bool,
) -> pl.DataFrame:
    """Some columns of delimited text, as texts, every row checked; and whether a field of a row holds a line feed."""
    scan = pl.scan_csv(
        source,
        glob=False,
        has_header=header,
        separator=how.separator,
        quote_char=how.quote,
        infer_schema=False,
        new_columns=list(names),
    )
    blank = pl.all_horizontal(pl.all().is_null())
    picked = [pl.col(name).str.strip_chars() if loose else pl.col(name) for name in columns]
    picked.append(pl.col(names[-1]).is_null().alias(_SHORT))
    quoted = how.quote is not None and _holds(source, how.quote)
    if quoted:
        feeds = [pl.col(name).str.contains("\n", literal=True) for name in names]
        picked.append(pl.any_horizontal(feeds).fill_null(value=False).alias(_FEED))
    try:
        # Without pushing the projection down every row's number of fields is checked, those that are not kept included.
        frame = (
            scan.filter(~blank)
            .select(picked)
            .collect(engine="streaming", optimizations=pl.QueryOptFlags(projection_pushdown=False))
        )
    except pl.exceptions.PolarsError as error:
        raise _diagnose(path, source, how, len(names), str(error)) from None
    except OSError as error:
        raise damaged(path, error) from None
    if quoted:
        _check_quotes(path, source, how, frame.height + int(header))
    if frame[_SHORT].any():
        _check_fields(path, source, how, len(names))
    if not frame.height:
        raise InputError(
            "there is a header and no row below it" if header else "the file is empty",
            place=str(path),
            remedy="give a file with interactions",
        )
    return frame


def parquet(path: Path) -> Table:
    """Open one Parquet file or a folder of them; only the columns asked for are read.

    Folders within it that are called `name=value`, as Spark, pandas, polars and DuckDB write them, are columns:
    whole numbers where all values are, else text; `__HIVE_DEFAULT_PARTITION__` is a missing value.

    Raises:
        InputError: no file in the folder, a file that is truncated or not Parquet, parts with different columns or
            partitions, a table whose folder holds files that are no longer of it.
    """
    require(path)
    files = parquet_files(path)
    if not files:
        raise InputError(
            "the folder holds no .parquet file", place=str(path), remedy="check the path"
        )
    keys = _partitions(path, files)
    try:
        scan = _scan(files, keys)
        names = tuple(scan.collect_schema().names())
        sample = scan.head(50).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _mismatch(path, files, error) from None

    def collect(columns: Sequence[str]) -> pl.DataFrame:
        try:
            frame = scan.select(columns).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _mismatch(path, files, error) from None
        if not frame.height:
            raise InputError(
                "the table has no rows", place=str(path), remedy="give a file with interactions"
            )
        return frame

    notes = (f"partitions {', '.join(keys)}",) if keys else ()
    return Table(names, True, sample, collect, lambda row: f"{path}, row {row + 1}", notes)


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a table, sorted: the file itself, or those of a folder and its folders.

    What begins with a dot or an underscore is not of the table: such are the leavings of jobs that failed.

    Raises:
        InputError: the folder is a Delta table, where files of deleted rows lie beside the others.
    """
    if not path.is_dir():
        return [path]
    if (path / "_delta_log").is_dir():
        raise InputError(
            "is a Delta table: its folder also holds rows that were deleted",
            place=str(path),
            remedy="write it as plain Parquet, as with polars.read_delta(...).write_parquet(...)",
        )
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix in (".parquet", ".pq")
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
        and file.is_file()
    )


def _partitions(path: Path, files: Sequence[Path]) -> dict[str, pl.Series]:
    """The columns that the names of folders make, a value per file.

    Raises:
        InputError: files of one table whose folders name different columns.
    """
    if not path.is_dir():
        return {}
    named = []
    for file in files:
        pairs = [part.partition("=") for part in file.relative_to(path).parts[:-1] if "=" in part]
        named.append({key: urllib.parse.unquote(value) for key, _, value in pairs})
        if list(named[-1]) != list(named[0]):
            first, other = (", ".join(each) or "no column" for each in (named[0], named[-1]))
            raise InputError(
                f"its folders name {other}, those of {files[0].name} name {first}",
                place=str(file),
                remedy="give the files of one table, all in folders name=value of the same names",
            )
    columns = {}
    for key in named[0]:
        text = pl.Series(key, [each[key] for each in named], dtype=pl.String)
        text = text.set(text == "__HIVE_DEFAULT_PARTITION__", None)
        columns[key] = whole_numbers(text)
    return columns


def _scan(files: Sequence[Path], keys: dict[str, pl.Series]) -> pl.LazyFrame:
    """All files as one table; those of one partition together, so that thousands of files are few scans."""
    if not keys:
        return pl.scan_parquet(list(files), glob=False)
    groups: dict[tuple[object, ...], list[Path]] = {}
    for number, file in enumerate(files):
        groups.setdefault(tuple(column[number] for column in keys.values()), []).append(file)
    scans = []
    for values, members in groups.items():
        scan = pl.scan_parquet(members, glob=False)
        own = scan.collect_schema().names()
        added = [
            pl.lit(value, column.dtype).alias(key)
            for (key, column), value in zip(keys.items(), values, strict=True)
            if key not in own  # the file's own column has a type
        ]
        scans.append(scan.with_columns(added))
    return pl.concat(scans)


def require(path: Path) -> None:
    """Raise an InputError that names near files where there is no such file or folder."""
    if not path.exists():
        folder = path.parent
        near = sorted(p.name for p in folder.iterdir())[:12] if folder.is_dir() else []
        raise InputError(
            "no such file or folder",
            place=str(path),
            remedy=f"the folder holds {', '.join(near)}" if near else "check the path",
        )


def damaged(path: Path, error: Exception) -> InputError:
    said = str(error).strip().splitlines()
    return InputError(
        f"the file is damaged or not what its name says ({said[0][:120] if said else type(error).__name__})",
        place=str(path),
        remedy="fetch or write it again",
    )


def unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot be read: {error.strerror or error}",
        place=str(path),
        remedy="check the path and its permissions",
    )


def not_utf8(path: Path, data: bytes, at: int) -> InputError:
    line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
    return InputError(
        f"byte 0x{data[at]:02x} is not UTF-8"
        + (", the file begins as UTF-16 does" if encoding == "utf-16" else ""),
        place=f"{path}, line {line}, byte {column}",
        remedy=f"convert it: iconv -f {encoding} -t utf8",
    )


def _undecodable(data: bytes) -> int:
    """Position of the first byte that is not UTF-8, -1 where all are."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _mismatch(path: Path, files: Sequence[Path], error: Exception) -> InputError:
    """Why several Parquet files cannot be read as one table: one is damaged, or their columns differ."""
    schemas: dict[Path, dict[str, pl.DataType]] = {}
    for file in files:
        try:
            schemas[file] = dict(pl.read_parquet_schema(file))
        except (pl.exceptions.PolarsError, OSError) as reason:
            return damaged(file, reason)
        if schemas[file] != schemas[files[0]]:
            columns = ", ".join(
                f"{name} {kind}"
                for name, kind in schemas[files[0]].items()
                if schemas[file].get(name) != kind
            )
            cause = f"its columns differ from those of {files[0].name}" + (
                f" ({columns} there)" if columns else ""
            )
            return InputError(cause, place=str(file), remedy="give files of one table")
    return damaged(path, error)


def _separator(path: Path, first: Sequence[str]) -> str:
    found = [separator for separator in ("\t", "::", ",", ";", "|", " ") if separator in first[0]]
    if (
        found and found[0] in ",;|"
    ):  # the comma of 3,5 separates nothing where ; or | occurs more often, and as often on every line
        bare = [re.sub(r'"[^"]*"', "", line) for line in first]
        counts = {
            separator: {line.count(separator) for line in bare}
            for separator in found
            if separator in ",;|"
        }
        return max(
            (separator for separator, each in counts.items() if len(each) == 1),
            key=lambda even: max(counts[even]),
            default=found[0],
        )
    if found:
        return found[0]
    raise InputError(
        "no separator found in the first line (tried tab, '::', ',', ';', '|', space)",
        place=f"{path}, line 1",
        remedy='give it: separator = "..."',
    )


def _header(path: Path, rows: Sequence[Sequence[str]], *, by_position: bool) -> bool:
    """A first line with a known column name is a header; so is one of words above numbers; one with numbers is none.

    One that counts 0, 1, 2, ... is what pandas writes above columns without names. Where columns are given by
    position, a known word beside a number is no name, and words above words are rows.
    """
    if len(rows[0]) > 2 and _counts_columns(rows[0]):
        return True
    known = {word for words in KNOWN.values() for word in words}
    numbers = any(is_number(cell) for cell in rows[0])
    if not (by_position and numbers) and any(
        folded(cell.partition(":")[0]) in known for cell in rows[0]
    ):
        return True
    if numbers:
        return False
    if len(rows) > 1 and any(is_number(cell) for cell in rows[1]):
        return True
    if by_position:
        return False
    raise InputError(
        f"cannot tell whether the first line ({', '.join(rows[0])[:60]}) names the columns",
        place=f"{path}, line 1",
        remedy="set header = true or header = false",
    )


def _counts_columns(cells: Sequence[str]) -> bool:
    """Whether cells count 0, 1, 2, ..., after an empty one where the rows have an index."""
    named = [cell.strip() for cell in cells]
    named = named[1:] if named[0] == "" else named
    return named == [str(number) for number in range(len(named))]


def is_number(cell: str) -> bool:
    """Return whether a cell of text reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else contents(source)


def _records(data: bytes, how: Dialect, *, strict: bool = True) -> Iterator[tuple[int, int]]:
    """(line, number of fields) of every record that is not blank; the slow and exact pass, taken only after a failure."""
    text = io.StringIO(data.decode("utf-8-sig", errors="replace"), newline="")
    reader = how.reader(text, strict=strict)
    start = 1
    for row in reader:
        if any(row):
            yield start, len(row)
        start = reader.line_num + 1  # type: ignore[attr-defined]


def _diagnose(path: Path, source: Path | bytes, how: Dialect, n: int, said: str) -> InputError:
    """Why polars could not read this text, with the line."""
    data = _bytes(source)
    wrong = _undecodable(data)
    if wrong >= 0:
        return not_utf8(path, data, wrong)
    last = 0
    try:
        for line, fields in _records(data, how):
            if fields != n:
                return _ragged(path, line, fields, n, how)
            last = line
    except python_csv.Error as error:
        return _misquoted(path, last, str(error))
    if how.quote is not None and how.quote.encode() in data:
        mark = how.quote.encode()
        uneven = [line for line, text in enumerate(data.split(b"\n"), 1) if text.count(mark) % 2]
        if uneven:
            return _torn(path, uneven[0])
    return InputError(
        f"cannot be parsed: {(said.splitlines() or ['no reason given'])[0][:120]}",
        place=str(path),
        remedy="check the separator and the quotes",
    )


def _check_quotes(path: Path, source: Path | bytes, how: Dialect, rows: int) -> None:
    """Refuse text whose rows cannot be told apart, as a quote inside of a field (5" disk) makes it.

    Only a line with an odd number of quotes can go on into the next one; where there is such a line, the exact
    reader has to count as many rows.
    """
    assert how.quote is not None
    counts = pl.read_lines(source, glob=False)["line"].str.count_matches(how.quote, literal=True)
    if not (counts % 2 == 1).any():
        return
    last = exact = 0
    try:
        for number, (line, _) in enumerate(_records(_bytes(source), how), 1):
            last, exact = line, number
    except python_csv.Error as error:
        raise _misquoted(path, last, str(error)) from None
    if exact != rows:
        raise _torn(path, int((counts % 2 == 1).arg_max() or 0) + 1)


def _torn(path: Path, line: int) -> InputError:
    return InputError(
        "a quote inside of a field, so that rows cannot be told apart",
        place=f"{path}, line {line}",
        remedy='put the field in quotes and double the inner one; where quotes are part of the values, set quote = ""',
    )


def _misquoted(path: Path, last: int, said: str) -> InputError:
    return InputError(
        f"an unclosed or misplaced quote ({said})",
        place=f"{path}, after line {last}",
        remedy='close the quote, or double it; where quotes are part of the values, set quote = ""',
    )


def _fed(path: Path, source: Path | bytes, how: Dialect, several: int) -> str:
    """What to say of fields that go on over the end of a line.

    Raises:
        InputError: the text is separated by tabs, which cannot say such a thing.
    """
    text = io.StringIO(_bytes(source).decode("utf-8-sig", errors="replace"), newline="")
    reader, at = how.reader(text), 1
    for row in reader:
        if any("\n" in cell for cell in row):
            break
        at = reader.line_num + 1  # type: ignore[attr-defined]
    if how.multiline:
        rows = "row holds" if several == 1 else "rows hold"
        return f"{several} {rows} a line feed in quotes, the first at line {at}"
    raise InputError(
        "a field in quotes goes on over the end of the line, which tab-separated text cannot say",
        place=f"{path}, line {at}",
        remedy='where quotes are part of the values, set quote = ""; else take line feeds out of the values',
    )


def _holds(source: Path | bytes, mark: str) -> bool:
    """Whether a character occurs at all; without one no row has to be looked at for what it may do."""
    if isinstance(source, bytes):
        return mark.encode() in source
    if source.suffix.lower() == ".zst":
        return True
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(mark.encode()) >= 0


def _check_fields(path: Path, source: Path | bytes, how: Dialect, n: int) -> None:
    """Refuse rows with too few fields, which polars fills up with nulls.

    Separators are counted in bulk, quoted parts left out; the exact pass has the last word.
    """
    text = pl.read_lines(source, glob=False)["line"]
    if how.quote is not None and text.str.contains(how.quote, literal=True).any():
        mark = re.escape(how.quote)
        text = text.str.replace_all(f"{mark}[^{mark}]*{mark}", "")
    if (
        (text.str.count_matches(how.separator, literal=True) < n - 1) & (text.str.len_bytes() > 0)
    ).any():
        for line, fields in _records(_bytes(source), how, strict=False):
            if fields != n:
                raise _ragged(path, line, fields, n, how)


def _ragged(path: Path, line: int, fields: int, n: int, how: Dialect) -> InputError:
    quoted = "quote a field that holds the separator"
    if how.quote is None:
        quoted = "set quote = '\"' if fields that hold the separator stand in quotes"
    return InputError(
        f"{fields} fields, the first line has {n}",
        place=f"{path}, line {line}",
        remedy=f"correct the line, or {quoted}",
    )
