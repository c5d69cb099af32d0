"""Entries that the user adds to the catalogue."""

from __future__ import annotations

import re
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.config import to_toml
from recsys.data.catalog.cache import checksums_path
from recsys.data.catalog.catalog import shipped_entry
from recsys.data.catalog.downloads import ROOM
from recsys.data.catalog.entries import File, entry_tree, parse_entry, require_name
from recsys.data.catalog.folders import catalogue_folder, data_folder
from recsys.errors import InputError
from recsys.files import disk_error, write_text

__all__ = ["add"]

_ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))$")


def add(
    name: str,
    *,
    path: str | Path | None = None,
    urls: Sequence[str] = (),
    sha256: Sequence[str] = (),
    read: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Path:
    """Write an entry of the user.

    Under the name of a shipped data set it gives the location of that data set on this machine; the
    shipped entry then says how to read it.

    Args:
        name: lower-case letters, digits, - and _.
        path: an existing file or folder.
        urls: files to download instead; an archive is recognised by its ending.
        sha256: their checksums, in the same order; none, or one for each.
        read: keys of `Source`; paths are relative to the folder.
        about: further keys of `Entry`: title, licence, home, note, texts, features, ...
        replace: overwrite an entry of the same name.

    Returns:
        The file that was written.

    Raises:
        InputError: a bad name; a path and urls, or neither; a path that does not exist; an unknown
            key; the name is in use.
    """
    require_name(name)
    shipped = shipped_entry(name)
    if shipped is not None and shipped.builtin:
        raise InputError(f"'{name}' is built in", remedy="choose another name")
    target = catalogue_folder() / f"{name}.toml"
    if target.exists() and not replace:
        raise InputError(
            f"an entry '{name}' already exists",
            place=str(target),
            remedy="add --replace, or choose another name",
        )
    if (path is None) == (not urls):
        raise InputError(
            "an entry needs either a path or urls",
            remedy="give --path FILE or FOLDER, or --url URL",
        )
    if sha256 and len(sha256) != len(urls):
        raise InputError(
            f"{len(sha256)} checksums for {len(urls)} urls", remedy="give one for each url, or none"
        )
    tree = entry_tree(shipped) if shipped is not None else {"read": {}}
    for key in ("name", "manual", "files", "folder"):
        tree.pop(key, None)
    tree |= {key: value for key, value in (about or {}).items() if value is not None}
    tree["read"] = tree["read"] | dict(read or {})
    if path is not None:
        tree["folder"] = str(_locate(name, Path(path).expanduser().absolute(), tree["read"]))
    else:
        tree["files"] = [
            _file_tree(url, sha256[i] if sha256 else None) for i, url in enumerate(urls)
        ]
        if len(urls) == 1 and not tree["files"][0]["unpack"] and "train" not in tree["read"]:
            tree["read"]["path"] = File(url=urls[0]).name
    parse_entry(name, tree, f"data set '{name}'")  # checked before it is written
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if urls:  # an earlier download under this name came from other urls
            shutil.rmtree(data_folder() / name, ignore_errors=True)
            checksums_path(name).unlink(missing_ok=True)
        write_text(target, to_toml(tree))
    except OSError as error:
        raise disk_error(error, target, ROOM) from None
    return target


def _locate(name: str, location: Path, read: dict[str, Any]) -> Path:
    """Return the folder that the paths of an entry are relative to.

    Args:
        name: of the data set.
        location: the file or folder that the user gave.
        read: keys of `Source`; gets the `path` of a single file.

    Raises:
        InputError: the location does not exist or does not hold what the shipped entry reads.
    """
    if not location.exists():
        raise InputError("no such file or folder", place=str(location), remedy="check the path")
    usual = Path(read.get("path", "")).parts
    if location.is_dir():
        if not usual:
            return location
        for base in (location, location.parent):
            if base.joinpath(*usual).exists():
                return base
        raise InputError(
            f"the folder does not hold '{read['path']}'",
            place=str(location),
            remedy="give the file itself",
        )
    if "train" in read:
        raise InputError(
            f"'{name}' is split into several files",
            place=str(location),
            remedy="give their folder",
        )
    if usual and location.parts[-len(usual) :] == usual:
        return Path(*location.parts[: -len(usual)])
    read["path"] = location.name
    return location.parent


def _file_tree(url: str, sha256: str | None) -> dict[str, Any]:
    """Return the keys of `File` for a url."""
    archive = _ARCHIVE.search(urllib.parse.urlsplit(url).path.lower()) is not None
    tree: dict[str, Any] = {"url": url, "unpack": archive}
    return tree if sha256 is None else {**tree, "sha256": sha256.lower()}
