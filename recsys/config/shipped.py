"""The experiments that ship with the package, found by name.

A name is that of a file below the folder of configurations, written as `online-retail/ease`,
`ease-online-retail`, `online-retail-ease`, `configs/online-retail/ease.toml` or, for a file that is
in no folder, `benchmark-small`. Upper and lower case are the same.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_shipped", "located", "shipped_folder", "shipped_names"]


def shipped_folder() -> Path:
    """Return the folder of configurations: in the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_names() -> list[str]:
    """Return the names of all shipped files, such as "online-retail/ease", in order."""
    folder = shipped_folder()
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.toml"))
    return sorted(path.as_posix() for path in paths)


def find_shipped(name: str | Path) -> Path | None:
    """Return the shipped file of a name; None without such a file."""
    word = Path(name).as_posix().lower().removeprefix("./").removeprefix("configs/")
    word = word.removesuffix(".toml")
    for known in shipped_names():
        folder, _, leaf = known.rpartition("/")
        spellings = {known, f"{leaf}-{folder}", f"{folder}-{leaf}"} if folder else {known}
        if word in {spelling.lower() for spelling in spellings}:
            return shipped_folder() / f"{known}.toml"
    return None


def located(name: str | Path) -> Path:
    """Return the path of a file that exists, or of the shipped file of this name.

    A name of neither is returned as it is.
    """
    path = Path(name)
    return path if path.exists() else find_shipped(path) or path
