"""Entries of the catalogue: their settings, and their form in TOML."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.config import build, settings, to_dict
from recsys.data.features.item_files import ItemTable
from recsys.data.reading import Source
from recsys.errors import InputError

__all__ = ["Entry", "File", "entry_tree", "parse_entry", "require_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@settings
class File:
    """One file to download.

    Args:
        url: http, https or file.
        sha256: published checksum; None: recorded at the first download, compared at later ones.
        size: in bytes, for information.
        unpack: whether the file is an archive.
    """

    url: str
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False

    @property
    def name(self) -> str:
        """Name of the file on disk."""
        name = Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name
        return name if name.strip(".") else "download"


@settings
class Entry:
    """Origin, terms and format of a data set.

    Args:
        name: lower-case letters, digits, - and _.
        title, licence, home, note: in words; `home` is a web page.
        redistribution: whether the terms clearly allow passing the data on.
        builtin: whether the data set comes with the package.
        users, items, interactions: as published.
        files: what to download; empty if a program cannot download it.
        manual: steps of a manual download.
        folder: where the files already are, in an entry of the user.
        read: how to read the files; paths are relative to the data set's folder.
        texts: where the titles of the items are.
        features: Parquet files with the columns `item` and `values`, by modality.
        user_features: tables of attributes with the column `user`, by name.
    """

    name: str
    read: Source
    title: str = ""
    licence: str = "not stated"
    home: str = ""
    note: str = ""
    redistribution: bool = False
    builtin: bool = False
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    files: tuple[File, ...] = ()
    manual: tuple[str, ...] = ()
    folder: str | None = None
    texts: ItemTable | None = None
    features: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user_features: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """Bytes to download, None if not known."""
        sizes = [file.size for file in self.files]
        return sum(size or 0 for size in sizes) if sizes and None not in sizes else None


def require_name(name: str, place: str | None = None) -> None:
    """Refuse a string that cannot be the name of a data set.

    Raises:
        InputError: it is not made of lower-case letters, digits, - and _.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is not a valid name of a data set",
            place=place,
            remedy="use lower-case letters, digits, - and _",
        )


def parse_entry(name: str, tree: Mapping[str, Any], place: str) -> Entry:
    """Build an entry from plain values, as TOML gives them.

    Args:
        name: of the data set.
        tree: keys of `Entry` without `name`.
        place: of the values in an error, such as the path of the TOML file.

    Raises:
        InputError: a bad name, an unknown key, a bad value, or not exactly one location.
    """
    require_name(name, place)
    if "name" in tree:
        raise InputError(
            "unknown key 'name'",
            place=place,
            remedy="the name of the file is the name of the data set",
        )
    files = _parse_files(tree.get("files", []), place)
    entry = build(Entry, {**tree, "name": name, "files": files}, place)
    locations = sum(map(bool, (entry.builtin, entry.folder, entry.files, entry.manual)))
    if locations == 0:
        raise InputError(
            "the entry names no location", place=place, remedy="give either folder or files"
        )
    if locations > 1:
        raise InputError(
            "the entry names more than one location",
            place=place,
            remedy="give only one of folder, files and manual",
        )
    return entry


def _parse_files(trees: object, place: str) -> list[File]:
    """Build the files of an entry.

    Raises:
        InputError: not a list of tables, a bad checksum, or two files of the same name.
    """
    if not isinstance(trees, list) or not all(isinstance(tree, Mapping) for tree in trees):
        raise InputError(
            "files must be a list of tables",
            place=place,
            remedy='write files = [{ url = "https://..." }]',
        )
    files = [build(File, tree, f"{place}: files {number}") for number, tree in enumerate(trees, 1)]
    for file in files:
        if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
            raise InputError(
                f"sha256 = '{file.sha256}' is not a SHA-256 checksum",
                place=place,
                remedy="give 64 hexadecimal digits, lower case",
            )
    if len({file.name for file in files}) < len(files):
        raise InputError(
            "two files have the same name", place=place, remedy="make an entry for each"
        )
    return files


def entry_tree(entry: Entry) -> dict[str, Any]:
    """Return the plain values of an entry; `read` holds only the keys that are not at default."""
    tree = to_dict(entry)
    default = {field.name: field.default for field in dataclasses.fields(Source)}
    tree["read"] = {key: value for key, value in tree["read"].items() if value != default[key]}
    return {key: value for key, value in tree.items() if value not in ("", {}, ())}
