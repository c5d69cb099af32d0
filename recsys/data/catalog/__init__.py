"""Catalogue: data sets by name, their download and their local copy.

    catalog   Entries, and what they add to a source.
    download  Resumable downloads with checksums.
    unpack    Archives.
    cache     Folders of data and checksums.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.catalog.catalog import Entry, add, entry, names, obtain, resolve, state
from recsys.data.catalog.download import Fetched, fetch

__all__ = ["Entry", "Fetched", "add", "entry", "fetch", "names", "obtain", "resolve", "state"]
