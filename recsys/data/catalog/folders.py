"""Folders of the catalogue: downloads, entries of the user, and the built-in data set."""

from __future__ import annotations

from pathlib import Path

from recsys.errors import InputError
from recsys.files import user_folder

__all__ = ["builtin_folder", "catalogue_folder", "data_folder"]


def data_folder() -> Path:
    """Return the folder of downloads.

    It is `$RECSYS_HOME/data`, else `$XDG_CACHE_HOME/recsys/data`, else `~/.cache/recsys/data`.
    """
    return user_folder("XDG_CACHE_HOME", ".cache", "data")


def catalogue_folder() -> Path:
    """Return the folder of the user's entries.

    It is `$RECSYS_HOME/catalog`, else `$XDG_CONFIG_HOME/recsys/catalog`, else
    `~/.config/recsys/catalog`.
    """
    return user_folder("XDG_CONFIG_HOME", ".config", "catalog")


def builtin_folder() -> Path:
    """Return the folder of the built-in data set: in the installed package or in the source tree.

    Raises:
        InputError: the data set is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "online-retail", package.parents[1] / "data" / "online-retail"):
        if (folder / "interactions.parquet").is_file():
            return folder
    raise InputError(
        "the built-in data set is missing",
        place=str(package / "online-retail"),
        remedy="install the package again",
    )
