"""What a user wrote in the place of a TOML file: a file of data, a name, or something else.

Nothing here imports torch or reads data, so a mistake is answered at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.config import find_shipped, no_such_file, shipped_names
from recsys.errors import InputError
from recsys.files import user_folder
from recsys.quickstart.method_words import canonical, method_names

__all__ = ["data_table", "is_data", "is_method", "refuse_unknown"]

_SHOWN = 8  # names in an error


def is_data(word: str | Path) -> bool:
    """Return whether a word names data: a file, a folder of data, or a data set by name.

    A TOML file, a shipped experiment and the folder of a run are not data.
    """
    path = Path(word)
    if path.is_dir():
        return not _is_result(path)
    if path.exists():
        return path.suffix.lower() not in (".toml", ".yaml", ".yml")
    return find_shipped(path) is None and str(word) in _data_sets()


def is_method(word: str) -> bool:
    """Return whether a word names a method, in any spelling."""
    try:
        canonical(word)
    except InputError:
        return False
    return True


def data_table(word: str | Path) -> dict[str, Any]:
    """Return the section `[data]` for a file, a folder, or the name of a data set."""
    path = Path(word).expanduser()
    if path.exists() or str(word) not in _data_sets():
        return {"path": str(word)}
    return {"source": str(word)}


def refuse_unknown(word: str | Path, verb: str) -> None:
    """Refuse what is neither an experiment nor data, with a command that works.

    Args:
        word: the word in the place of a TOML file or of data.
        verb: the command, such as "run".

    Raises:
        InputError: the word is a run, a file of another program, a method, or nothing that exists.
    """
    path = Path(word)
    if path.is_dir() and _is_result(path):
        raise _about_result(path, verb)
    if path.suffix.lower() in (".yaml", ".yml") and path.exists():
        raise _about_yaml(path, verb)
    if path.exists() or find_shipped(path) is not None or is_data(word):
        return
    if is_method(str(word)):
        raise _about_method(canonical(str(word)), verb)
    raise _about_missing(path)


def _is_result(folder: Path) -> bool:
    names = ("run.json", "study.json", "matrix.json", "report.json")
    return any((folder / name).exists() for name in names) or _holds_runs(folder)


def _holds_runs(folder: Path) -> bool:
    return any(True for _ in folder.glob("*/run.json"))


def _about_result(folder: Path, verb: str) -> InputError:
    """Return the error of a folder that a command of this package wrote."""
    if (folder / "run.json").exists():
        remedy = f"recsys evaluate {folder}, recsys recommend {folder}, "
        remedy += f"or recsys run --resume {folder}"
        return InputError("is a run, not data", place=str(folder), remedy=remedy)
    if _holds_runs(folder):
        return InputError(
            "holds runs, not data", place=str(folder), remedy=f"recsys compare {folder}/*"
        )
    return InputError(
        f"is the result of another command, not the input of `recsys {verb}`",
        place=str(folder),
        remedy=f"recsys report {folder} --out page.html",
    )


def _about_yaml(path: Path, verb: str) -> InputError:
    """Return the error of a YAML file, as RecBole uses it, with the command that is alike."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    values = dict(re.findall(r"^(model|dataset|data_path):\s*['\"]?([^\s'\"#]+)", text, re.M))
    model = values.get("model", "")
    name = canonical(model) if model and is_method(model) else "METHOD"
    folder = values.get("data_path", "dataset").rstrip("/")
    file = f"{folder}/{name_}/{name_}.inter" if (name_ := values.get("dataset", "")) else "FILE"
    return InputError(
        "is YAML, as RecBole uses it; experiments are TOML here",
        place=str(path),
        remedy=f"recsys {verb} {file} --model {name}, and `recsys init {file} --model {name}` "
        "writes the TOML",
    )


def _about_method(name: str, verb: str) -> InputError:
    """Return the error of a method without data."""
    shipped = [each for each in shipped_names() if each.rpartition("/")[2] == name]
    shipped = [each for each in shipped if not each.startswith("spaces/")]
    also = f"; shipped experiments of it: {', '.join(shipped[:_SHOWN])}" if shipped else ""
    return InputError(
        f"'{name}' is a method, and needs data",
        place="command line",
        remedy=f"recsys {verb} FILE --model {name}, or recsys run online-retail --model {name}"
        + also,
    )


def _about_missing(path: Path) -> InputError:
    """Return the error of a word that names nothing, with near names of every kind."""
    word = str(path)
    if path.suffix.lower() == ".toml":
        return no_such_file(path)
    own = sorted(each.name for each in _neighbours(path))
    known = [*own, *shipped_names(), *_data_sets(), *method_names()]
    near = difflib.get_close_matches(path.name, known, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    is_path = len(path.parts) > 1 or "." in word
    if is_path:
        folder = f"the folder holds {', '.join(own[:_SHOWN])}" if own else "check the path"
        return InputError("no such file or folder", place=word, remedy=f"{guess}{folder}")
    return InputError(
        f"'{word}' is not a file, a shipped experiment or a data set",
        place="command line",
        remedy=f"{guess}give a file such as ratings.csv; `recsys configs` lists the shipped "
        "experiments, `recsys data list` the data sets",
    )


def _neighbours(path: Path) -> Sequence[Path]:
    folder = path.parent
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if not each.name.startswith(".")]


def _data_sets() -> list[str]:
    """Return the names of the data sets of the catalogue, without importing what reads them."""
    file = Path(__file__).resolve().parents[1] / "data" / "catalog" / "catalog.toml"
    shipped = tomllib.loads(file.read_text(encoding="utf-8"))
    own = user_folder("XDG_CONFIG_HOME", ".config", "catalog")
    return sorted({*shipped, *(path.stem for path in own.glob("*.toml"))})
