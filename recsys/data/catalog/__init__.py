"""Catalogue: data sets by name, their download and their local copy.

    catalog       Entries by name, and what they add to a source.
    entries       Settings of an entry, and its form in TOML.
    registration  Entries that the user adds.
    item_tables   Item tables by path or by name of a data set.
    folders       Folders of downloads and of entries.
    cache         Local copies of data sets and their checksums.
    downloads     Downloads with retries and checksums.
    transfer      One attempt of a download over HTTP.
    unpacking     Archives.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.catalog.cache import checksums, checksums_path
from recsys.data.catalog.catalog import (
    ensure_local,
    entry,
    features,
    names,
    source_of,
    state,
    titles,
    user_features,
)
from recsys.data.catalog.downloads import Downloaded, download
from recsys.data.catalog.entries import Entry, File
from recsys.data.catalog.folders import builtin_folder, catalogue_folder, data_folder
from recsys.data.catalog.item_tables import item_table
from recsys.data.catalog.registration import add
from recsys.data.catalog.unpacking import unpack

__all__ = [
    "Downloaded",
    "Entry",
    "File",
    "add",
    "builtin_folder",
    "catalogue_folder",
    "checksums",
    "checksums_path",
    "data_folder",
    "download",
    "ensure_local",
    "entry",
    "features",
    "item_table",
    "names",
    "source_of",
    "state",
    "titles",
    "unpack",
    "user_features",
]
