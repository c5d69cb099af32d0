"""Data sets by name: where they come from, under which terms, and how to read them.

What is known by name stands in catalog.toml next to this file and in the user's own catalogue, one TOML file a data set,
which wins. Nothing here knows a data set by heart.

    downloads          $RECSYS_HOME/data,    else $XDG_CACHE_HOME/recsys/data,     else ~/.cache/recsys/data
    user's catalogue   $RECSYS_HOME/catalog, else $XDG_CONFIG_HOME/recsys/catalog, else ~/.config/recsys/catalog

The first may be deleted at any time, the second is the user's. RECSYS_OFFLINE=1 forbids downloads.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import build, read_toml, settings, to_dict, to_toml
from recsys.data.catalog.cache import File, bring, data_folder, home, record
from recsys.data.catalog.download import ROOM, Progress
from recsys.data.features.tables import Texts, feature_table, texts
from recsys.data.reading import Source
from recsys.data.types import FeatureTable, Vocab
from recsys.data.unmatched import Tell
from recsys.errors import InputError, suggest
from recsys.files import disk_error, write_text

__all__ = [
    "Entry",
    "add",
    "builtin_folder",
    "catalogue_folder",
    "entry",
    "features",
    "names",
    "obtain",
    "resolve",
    "state",
    "titles",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@settings
class Entry:
    """What is known of a data set.

    Args:
        name: lower-case letters, digits, - and _.
        title, licence, home, note: in words; `home` is a page.
        redistribution: whether its terms clearly allow to pass it on.
        builtin: it comes with the package.
        users, items, interactions: as published.
        files: what to download; empty where that cannot be done by a program.
        manual: what to do by hand then, step by step.
        folder: where the files lie already, in an entry of the user's.
        read: how to read it; paths are seen from its folder.
        texts: where the titles of the items are.
        features: Parquet files with the columns `item` and `values`, by modality.
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
    texts: Texts | None = None
    features: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """Bytes to download, None where that is not known."""
        sizes = [file.size for file in self.files]
        return sum(size or 0 for size in sizes) if sizes and None not in sizes else None


def builtin_folder() -> Path:
    """Where the built-in data set is: inside the installed package, or in the source tree beside it."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "online-retail", here.parents[1] / "data" / "online-retail"):
        if (folder / "interactions.parquet").is_file():
            return folder
    raise InputError(
        "the built-in data set is missing",
        place=str(here / "online-retail"),
        remedy="install the package again",
    )


def catalogue_folder() -> Path:
    """Where the user's own entries are."""
    return home("XDG_CONFIG_HOME", ".config", "catalog")


def names() -> tuple[str, ...]:
    """All names, the shipped ones first."""
    shipped = tuple(_shipped())
    return shipped + tuple(sorted(set(_own()) - set(shipped)))


def entry(name: str) -> Entry:
    """What is known of a data set, the user's word before ours.

    Raises:
        InputError: an unknown name, with the nearest known one; a mistake in the user's file.
    """
    own = _own().get(name)
    if own is not None:
        found = _entry(name, read_toml(own), str(own))
        if found.builtin:
            raise InputError(
                "builtin = true",
                place=str(own),
                remedy="say where the data set is: folder = ..., or files = [...]",
            )
        return found
    if name not in _shipped():
        near = suggest(name, names()).partition("? known")
        raise InputError(
            f"no data set is called '{name}'",
            remedy=f"{near[0]}? " * bool(near[1])
            + "`recsys data list` shows all, `recsys data add` adds one",
        )
    return _entry(name, _shipped()[name], f"catalog.toml: [{name}]")


def state(wanted: Entry) -> str:
    """Where its files are: "built-in", "yours", "cached", "to fetch" or "by hand"."""
    if wanted.builtin:
        return "built-in"
    if wanted.folder:
        return "yours"
    if (data_folder() / wanted.name).is_dir():
        return "cached"
    return "to fetch" if wanted.files else "by hand"


def resolve(name: str) -> Source:
    """How to read a data set, with paths that exist; it is downloaded first where it is not here yet.

    Raises:
        InputError: as `entry` and `obtain`.
    """
    wanted = entry(name)
    folder = obtain(wanted)
    path = folder / wanted.read.path if wanted.read.path else folder
    if not path.exists():
        inside = sorted(p.name for p in folder.iterdir())[:12]
        raise InputError(
            f"'{wanted.read.path}' is not there",
            place=str(folder),
            remedy=f"it holds {', '.join(inside) or 'nothing'}; correct the entry, or delete the folder and fetch again",
        )
    return dataclasses.replace(wanted.read, path=str(path))


def obtain(wanted: Entry, progress: Progress | None = None) -> Path:
    """The folder with the files of a data set, downloaded where that is needed, allowed and possible.

    Nothing appears under the final name before everything is there and every checksum right.

    Raises:
        InputError: it has to be fetched by hand (with the steps), downloads are forbidden, or as `fetch` and `unpack`.
    """
    if wanted.builtin:
        return builtin_folder()
    if wanted.folder:
        folder = Path(wanted.folder)
        if not folder.is_dir():
            raise InputError(
                "the folder is gone",
                place=str(folder),
                remedy=f"`recsys data add {wanted.name} --replace --path ...` says where it is now",
            )
        return folder
    folder = data_folder() / wanted.name
    if folder.is_dir():
        return folder
    if not wanted.files:
        steps = "; ".join(f"({number}) {step}" for number, step in enumerate(wanted.manual, 1))
        raise InputError(
            f"'{wanted.name}' cannot be downloaded by a program",
            place=wanted.home or None,
            remedy=steps or f"see its home page, then `recsys data add {wanted.name} --path ...`",
        )
    if os.environ.get("RECSYS_OFFLINE", "") not in ("", "0"):
        raise InputError(
            f"'{wanted.name}' is not here and RECSYS_OFFLINE forbids downloads",
            remedy=f"unset it, or {_by_hand(wanted)}",
        )
    try:
        return bring(wanted.name, wanted.files, progress)
    except InputError as error:
        if "SHA-256" in error.cause or not str(error.place or "").startswith("http"):
            raise
        remedy = f"{error.remedy}; or {_by_hand(wanted)}" if error.remedy else _by_hand(wanted)
        raise InputError(error.cause, place=error.place, remedy=remedy) from None


def _by_hand(wanted: Entry) -> str:
    """How to go on where nothing can be downloaded."""
    files = " and ".join(file.url for file in wanted.files)
    whole = "" if len(wanted.files) == 1 and not wanted.files[0].unpack else " (or their folder)"
    return f"bring {files} from a machine with a network and say where: `recsys data add {wanted.name} --path FILE`{whole}"


def titles(name: str, items: Vocab, tell: Tell | None = None) -> pl.Series | None:
    """Text to show for every item, String [n_items], null where there is none; None where the data set has no titles.

    `tell` is called with what there is to say of rows that belong to no item.

    Raises:
        InputError: the table is there and cannot be read.
    """
    wanted = entry(name)
    if wanted.texts is None:
        return None
    path = obtain(wanted) / wanted.texts.path
    return texts(path, wanted.texts, items, tell) if path.exists() else None


def features(name: str, items: Vocab, tell: Tell | None = None) -> Mapping[str, FeatureTable]:
    """The modalities of the items, by name, aligned with the vocabulary.

    `tell` is called with what there is to say of rows that belong to no item.

    Raises:
        InputError: a table is missing or not what `feature_table` reads.
    """
    wanted = entry(name)
    if not wanted.features:
        return {}
    folder = obtain(wanted)
    return {
        modality: feature_table(folder / path, items, name=modality, tell=tell)
        for modality, path in wanted.features.items()
    }


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
    """Write an entry of the user's.

    Under a shipped name it says where that data set lies on this machine; how to read it is then known already.

    Args:
        name: lower-case letters, digits, - and _.
        path: a file or a folder that is there.
        urls: files to download instead; an archive is told by its ending.
        sha256: their checksums, in the same order; none, or one for each.
        read: keys of `Source`, paths seen from the folder.
        about: further keys of `Entry`: title, licence, home, note, texts, features, ...
        replace: overwrite an entry of the same name.

    Returns:
        the file that was written.

    Raises:
        InputError: a bad name, nothing or both to read from, a path that is not there, an unknown key.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is no name for a data set", remedy="use lower-case letters, digits, - and _"
        )
    shipped = (
        _entry(name, _shipped()[name], f"catalog.toml: [{name}]") if name in _shipped() else None
    )
    if shipped is not None and shipped.builtin:
        raise InputError(f"'{name}' is built in", remedy="choose another name")
    target = catalogue_folder() / f"{name}.toml"
    if target.exists() and not replace:
        raise InputError(
            f"'{name}' is there already",
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
    tree = _plain(shipped) if shipped is not None else {"read": {}}
    for key in ("name", "manual", "files", "folder"):
        tree.pop(key, None)
    tree |= {key: value for key, value in (about or {}).items() if value is not None}
    tree["read"] = tree["read"] | dict(read or {})
    if path is not None:
        tree |= _place(name, Path(path).expanduser().absolute(), tree["read"])
    else:
        tree["files"] = [
            _download(url, sha256[i] if sha256 else None) for i, url in enumerate(urls)
        ]
        if len(urls) == 1 and not tree["files"][0]["unpack"] and "train" not in tree["read"]:
            tree["read"]["path"] = File(url=urls[0]).name
    _entry(name, tree, f"data set '{name}'")  # checked before it is written
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if urls:  # what is in the cache under this name came from elsewhere
            shutil.rmtree(data_folder() / name, ignore_errors=True)
            record(name).unlink(missing_ok=True)
        write_text(target, to_toml(tree))
    except OSError as error:
        raise disk_error(error, target, ROOM) from None
    return target


def _place(name: str, given: Path, read: dict[str, Any]) -> dict[str, str]:
    """The folder that the paths of an entry are seen from, when its files are at `given`; `read` learns the rest."""
    if not given.exists():
        raise InputError("no such file or folder", place=str(given), remedy="check the path")
    usual = Path(read.get("path", "")).parts
    if given.is_dir():
        inside = next(
            (base for base in (given, given.parent) if usual and base.joinpath(*usual).exists()),
            None,
        )
        if usual and inside is None:
            raise InputError(
                f"'{read['path']}' is not there", place=str(given), remedy="give the file itself"
            )
        return {"folder": str(inside or given)}
    if "train" in read:
        raise InputError(
            f"'{name}' is split into several files", place=str(given), remedy="give their folder"
        )
    if usual and given.parts[-len(usual) :] == usual:
        return {"folder": str(Path(*given.parts[: -len(usual)]))}
    read["path"] = given.name
    return {"folder": str(given.parent)}


def _download(url: str, sha256: str | None) -> dict[str, Any]:
    archive = re.search(
        r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))$", urllib.parse.urlsplit(url).path.lower()
    )
    return {"url": url, "unpack": archive is not None} | (
        {"sha256": sha256.lower()} if sha256 else {}
    )


def _plain(wanted: Entry) -> dict[str, Any]:
    """Plain values of an entry, those at their default left out of `read`."""
    tree = to_dict(wanted)
    default = {field.name: field.default for field in dataclasses.fields(Source)}
    tree["read"] = {key: value for key, value in tree["read"].items() if value != default[key]}
    return {key: value for key, value in tree.items() if value not in ("", {}, ())}


@cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    return read_toml(Path(__file__).with_name("catalog.toml"))


def _own() -> dict[str, Path]:
    folder = catalogue_folder()
    return {path.stem: path for path in sorted(folder.glob("*.toml"))} if folder.is_dir() else {}


def _entry(name: str, tree: Mapping[str, Any], place: str) -> Entry:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is no name for a data set",
            place=place,
            remedy="use lower-case letters, digits, - and _",
        )
    if "name" in tree:
        raise InputError(
            "unknown key 'name'",
            place=place,
            remedy="the name of the file is the name of the data set",
        )
    files = tree.get("files", [])
    if not isinstance(files, list) or not all(isinstance(file, Mapping) for file in files):
        raise InputError(
            "files is no list of tables",
            place=place,
            remedy='write files = [{ url = "https://..." }]',
        )
    made = [build(File, file, f"{place}: files {number}") for number, file in enumerate(files, 1)]
    for file in made:
        if file.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            raise InputError(
                f"sha256 = '{file.sha256}' is no SHA-256",
                place=place,
                remedy="give 64 hexadecimal digits, lower case",
            )
    if len({file.name for file in made}) < len(made):
        raise InputError(
            "two files have the same name", place=place, remedy="make an entry for each"
        )
    found = build(Entry, {**tree, "name": name, "files": made}, place)
    if sum(map(bool, (found.builtin, found.folder, found.files, found.manual))) != 1:
        raise InputError(
            "it is not said where the data set is",
            place=place,
            remedy="give one of folder and files",
        )
    return found
