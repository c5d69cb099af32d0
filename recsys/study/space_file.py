"""Search spaces in files of their own: those of the user, and those that the package ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.config import override, read_toml
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment, from_tree

__all__ = ["read_with_space", "spaces"]


def read_with_space(
    path: str | Path, overrides: Sequence[str] = (), space: str | Path | None = None
) -> Experiment:
    """Read an experiment whose [tune.space] may be in another file.

    Args:
        path: the file of the experiment.
        overrides: dotted settings.
        space: a TOML file whose [tune.space] replaces that of the experiment. Its other settings of
            [tune] are used where the experiment sets none. None takes the experiment's own space,
            or the one that the package ships for its method.

    Raises:
        InputError: as `recsys.experiment.experiment.read`; the message names the file with the
            mistake.
    """
    tree = override(read_toml(path), overrides)
    name = Path(path).stem
    own = tree.get("tune", {})
    if not isinstance(own, Mapping):  # a mistake, which `from_tree` reports
        return from_tree(tree, str(path), default_name=name)
    file = _shipped_space(tree, own) if space is None else space
    if file is None:
        return from_tree(tree, str(path), default_name=name)
    section = _read_space(file)
    try:
        from_tree({**tree, "tune": section}, "", default_name=name)
    except InputError as error:
        # If the experiment without its [tune] is wrong too, the mistake is not in the space.
        from_tree({key: value for key, value in tree.items() if key != "tune"}, str(path))
        raise error.at(str(file)) from None
    settings = {**section, **own, "space": section["space"]}
    return from_tree({**tree, "tune": settings}, str(path), default_name=name)


def _shipped_space(tree: Mapping[str, Any], own: Mapping[str, Any]) -> Path | None:
    """Return the file of the space that ships for the method, if the experiment has no space."""
    model = tree.get("model", {})
    if own.get("space") or not isinstance(model, Mapping):
        return None
    file = spaces() / f"{model.get('name')}.toml"
    return file if file.is_file() else None


def _read_space(file: str | Path) -> Mapping[str, Any]:
    """Read the section [tune] of a file that holds a space."""
    tree = read_toml(file)
    section = tree.get("tune")
    if set(tree) != {"tune"} or not isinstance(section, Mapping) or "space" not in section:
        raise InputError(
            "is not a search space",
            place=str(file),
            remedy="a file of a space holds [tune.space], and may hold other settings of [tune]",
        )
    return section


def spaces() -> Path:
    """Return the folder of the shipped spaces: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    return (package if (package / "configs").is_dir() else package.parent) / "configs" / "spaces"
