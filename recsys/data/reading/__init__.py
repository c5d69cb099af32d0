"""Reading: find the files of a log, recognise their format, read their columns.

    source           Settings `[data]`.
    reader           The file or files of a source.
    frames           Data frames in memory.
    arrays           Matrices and arrays in memory.

    location         Files and format of a path.
    behaviour_files  One file per behaviour.
    formats          The table of formats, with those of other packages.
    table_formats    csv, parquet, inter, x-label.
    list_formats     Lists of items per user, and rating files.
    matrix_formats   Matrices and arrays on disk.
    basket_format    One basket per line.
    target_rows      RecBole files with one row per target.
    session_logs     Logs of sessions without users.
    order            The order of data without times.

    table            What a table offers before its rows are read.
    delimited        Delimited text.
    dialect          Separator, quote and header of a text.
    row_checks       Broken rows of a text, by line.
    parquet          Parquet.
    text_files       Bytes and lines of files.
    columns          Roles of columns.
    usual_names      Names that columns usually have.
    column_guess     The columns that were recognised, as settings.
    normalisation    Columns of any type to the columns of the package.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.raw_parts import RawLog, RawParts
from recsys.data.reading.arrays import is_array, read_array
from recsys.data.reading.column_guess import ColumnGuess, guess_columns
from recsys.data.reading.frames import read_frame
from recsys.data.reading.reader import read
from recsys.data.reading.source import ROLES, Source

__all__ = [
    "ROLES",
    "ColumnGuess",
    "RawLog",
    "RawParts",
    "Source",
    "guess_columns",
    "is_array",
    "read",
    "read_array",
    "read_frame",
]
