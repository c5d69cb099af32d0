"""Reading: find the files of a log, recognise their format, read their columns.

    reader   Settings `[data]`, and the reader of a source.
    locate   Files and formats of a path.
    formats  Formats of published data sets.
    table    Delimited text and Parquet.
    columns  Roles of columns.
    arrays   Matrices and arrays in memory.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.reading.arrays import is_array
from recsys.data.reading.reader import Parts, Source, read

__all__ = ["Parts", "Source", "is_array", "read"]
