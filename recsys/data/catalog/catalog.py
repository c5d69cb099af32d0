"""Data sets by name: where they come from, under which terms, and how to read them.

The shipped entries are in `catalog.toml` next to this file. The user's entries are one TOML file
per data set, and win over shipped ones of the same name. No data set is hard-coded.

    downloads          $RECSYS_HOME/data,    else $XDG_CACHE_HOME/recsys/data,
                       else ~/.cache/recsys/data
    user's catalogue   $RECSYS_HOME/catalog, else $XDG_CONFIG_HOME/recsys/catalog,
                       else ~/.config/recsys/catalog

The downloads may be deleted at any time. RECSYS_OFFLINE=1 forbids downloads.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import read_toml
from recsys.data.catalog.cache import download_files
from recsys.data.catalog.downloads import Progress
from recsys.data.catalog.entries import Entry, parse_entry
from recsys.data.catalog.folders import builtin_folder, catalogue_folder, data_folder
from recsys.data.features.tables import feature_table, user_tables
from recsys.data.features.titles import read_titles
from recsys.data.reading import Source
from recsys.data.types import FeatureTable, Vocab
from recsys.data.unmatched import Tell
from recsys.errors import InputError, suggest

__all__ = [
    "Entry",
    "ensure_local",
    "entry",
    "features",
    "names",
    "shipped_entry",
    "source_of",
    "state",
    "titles",
    "user_features",
]


def names() -> tuple[str, ...]:
    """Return the names of all data sets, the shipped ones first."""
    shipped = tuple(_shipped())
    return shipped + tuple(sorted(set(_user_files()) - set(shipped)))


def entry(name: str) -> Entry:
    """Return the entry of a data set: the user's if there is one, else the shipped one.

    Raises:
        InputError: an unknown name, with the nearest known one; a mistake in the user's file.
    """
    file = _user_files().get(name)
    if file is not None:
        own = parse_entry(name, read_toml(file), str(file))
        if own.builtin:
            raise InputError(
                "builtin = true is for the shipped catalogue only",
                place=str(file),
                remedy="give the location of the data set: folder = ..., or files = [...]",
            )
        return own
    shipped = shipped_entry(name)
    if shipped is None:
        remedy = "`recsys data list` shows all, `recsys data add` adds one"
        question, near, _ = suggest(name, names()).partition("? known")
        if near:
            remedy = f"{question}? {remedy}"
        raise InputError(f"no data set is called '{name}'", remedy=remedy)
    return shipped


def shipped_entry(name: str) -> Entry | None:
    """Return the entry that comes with the package; None if it has no such entry."""
    tree = _shipped().get(name)
    return None if tree is None else parse_entry(name, tree, f"catalog.toml: [{name}]")


def state(entry: Entry) -> str:
    """Return where the files are: "built-in", "yours", "cached", "to fetch" or "by hand"."""
    if entry.builtin:
        return "built-in"
    if entry.folder:
        return "yours"
    if (data_folder() / entry.name).is_dir():
        return "cached"
    return "to fetch" if entry.files else "by hand"


def source_of(name: str) -> Source:
    """Return the settings to read a data set, with paths that exist; download it if necessary.

    Raises:
        InputError: as `entry` and `ensure_local`; the files lack the one that the entry names.
    """
    asked = entry(name)
    folder = ensure_local(asked)
    path = folder / asked.read.path if asked.read.path else folder
    if not path.exists():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:12])
        raise InputError(
            f"the folder does not hold '{asked.read.path}'",
            place=str(folder),
            remedy=f"it holds {inside or 'nothing'}; correct the entry, "
            "or delete the folder and fetch again",
        )
    return dataclasses.replace(asked.read, path=str(path))


def ensure_local(entry: Entry, progress: Progress | None = None) -> Path:
    """Return the folder with the files of a data set; download them if necessary and allowed.

    The folder appears when all files are complete and all checksums are right, never before.

    Args:
        entry: of the data set.
        progress: called with the bytes of the current file so far, and its size if known.

    Raises:
        InputError: a manual download is needed (with its steps), downloads are forbidden, or as
            `download` and `unpack`.
    """
    if entry.builtin:
        return builtin_folder()
    if entry.folder:
        folder = Path(entry.folder)
        if not folder.is_dir():
            command = f"`recsys data add {entry.name} --replace --path ...`"
            raise InputError(
                "the folder of the data set no longer exists",
                place=str(folder),
                remedy=f"give its new location: {command}",
            )
        return folder
    folder = data_folder() / entry.name
    if folder.is_dir():
        return folder
    if not entry.files:
        steps = "; ".join(f"({number}) {step}" for number, step in enumerate(entry.manual, 1))
        raise InputError(
            f"'{entry.name}' cannot be downloaded by a program",
            place=entry.home or None,
            remedy=steps or f"see its home page, then `recsys data add {entry.name} --path ...`",
        )
    if os.environ.get("RECSYS_OFFLINE", "") not in ("", "0"):
        raise InputError(
            f"'{entry.name}' is not on this machine and RECSYS_OFFLINE forbids downloads",
            remedy=f"unset it, or {_manual_copy(entry)}",
        )
    try:
        return download_files(entry.name, entry.files, progress)
    except InputError as error:
        if "SHA-256" in error.cause or not str(error.place or "").startswith("http"):
            raise
        remedy = _manual_copy(entry)
        if error.remedy:
            remedy = f"{error.remedy}; or {remedy}"
        raise InputError(error.cause, place=error.place, remedy=remedy) from None


def _manual_copy(entry: Entry) -> str:
    """Return the remedy where the network cannot be used."""
    urls = " and ".join(file.url for file in entry.files)
    command = f"`recsys data add {entry.name} --path FILE`"
    if len(entry.files) > 1 or entry.files[0].unpack:
        command += " (or their folder)"
    return f"copy {urls} from a machine with a network and give the location: {command}"


def titles(name: str, items: Vocab, tell: Tell | None = None) -> pl.Series | None:
    """Return a title for every item of a data set, if the data set has titles.

    Args:
        name: of the data set.
        items: the vocabulary whose rows the titles belong to.
        tell: called with a finding about rows that belong to no item.

    Returns:
        String [n_items], null where an item has no title; None if the data set has no titles.

    Raises:
        InputError: the table exists and cannot be read.
    """
    asked = entry(name)
    if asked.texts is None:
        return None
    path = ensure_local(asked) / asked.texts.path
    return read_titles(path, items, asked.texts, tell=tell) if path.exists() else None


def features(name: str, items: Vocab, tell: Tell | None = None) -> Mapping[str, FeatureTable]:
    """Return the feature tables of a data set by modality, aligned with the vocabulary.

    Args:
        name: of the data set.
        items: the vocabulary whose rows the tables get.
        tell: called with a finding about rows that belong to no item.

    Raises:
        InputError: a table is missing or not what `feature_table` reads.
    """
    asked = entry(name)
    if not asked.features:
        return {}
    folder = ensure_local(asked)
    return {
        modality: feature_table(folder / path, items, name=modality, tell=tell)
        for modality, path in asked.features.items()
    }


def user_features(name: str, users: Vocab, tell: Tell | None = None) -> dict[str, FeatureTable]:
    """Return the attributes of the users of a data set by name; arguments as for `features`."""
    asked = entry(name)
    if not asked.user_features:
        return {}
    return user_tables(asked.user_features, ensure_local(asked), users, tell)


@cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    """Return the plain values of the shipped entries by name."""
    return read_toml(Path(__file__).with_name("catalog.toml"))


def _user_files() -> dict[str, Path]:
    """Return the TOML files of the user's entries by name."""
    folder = catalogue_folder()
    return {path.stem: path for path in sorted(folder.glob("*.toml"))} if folder.is_dir() else {}
