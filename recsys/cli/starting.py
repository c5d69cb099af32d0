"""The experiment that a command line asks for: a TOML file, a shipped one, or data alone.

Mistakes in a path or a name are reported before torch is imported, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.errors import InputError

if TYPE_CHECKING:
    from recsys.data.types import Split
    from recsys.experiment.experiment import Experiment
    from recsys.quickstart import StartingData, Wish

__all__ = ["Data", "K", "MetricName", "Model", "Started", "own_data", "refuse_early", "started"]

Model = Annotated[
    str | None,
    typer.Option(help="Method, such as ease; `recsys models` lists them.", show_default=False),
]
Data = Annotated[
    str | None,
    typer.Option(help="File or data set, in place of that of CONFIG.", show_default=False),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric", help="The metric that decides, such as ndcg or recall@50.", show_default=False
    ),
]
K = Annotated[
    int | None,
    typer.Option("--k", "-k", min=1, help="Length of the measured lists.", show_default=False),
]


@dataclass(frozen=True)
class Started:
    """An experiment, and its data if they were loaded on the way.

    Args:
        experiment: the experiment.
        split: its data; None if they are not loaded yet.
        data: the data of an experiment without a TOML file.
    """

    experiment: Experiment
    split: Split | None = None
    data: StartingData | None = None


def started(
    config: Path | None, overrides: Sequence[str], wish: Wish, data: str | None, verb: str
) -> Started:
    """Return the experiment of a command.

    Args:
        config: a TOML file, the name of a shipped one, a file of data or the name of a data set.
        overrides: dotted assignments.
        wish: the method, the metric and the length of lists that options name.
        data: the data that an option names.
        verb: the command, for errors.

    Raises:
        InputError: nothing to run is given, or what is given cannot be read.
    """
    from recsys.quickstart import is_data, refuse_unknown

    if config is not None and data is not None and _is_assignment(config):
        config, overrides = None, [str(config), *overrides]
    if config is None and data is None:
        raise InputError(
            "no experiment was given",
            remedy=f"give data or a TOML file, as in recsys {verb} ratings.csv"
            + (", or --resume RUN" if verb == "run" else ""),
        )
    for word in (data, config):
        if word is not None and not (word is config and _is_assignment(config)):
            refuse_unknown(word, verb)
    if data is not None and not is_data(data):
        raise InputError(
            "is not data", place=f"--data {data}", remedy="give a file of interactions"
        )
    if config is not None and not is_data(config):
        return Started(_from_file(config, overrides, wish, data))
    if config is not None and data is not None:
        raise InputError(
            f"two data sets are given, {config} and {data}", remedy="leave one of them out"
        )
    return _from_data(str(data or config), overrides, wish)


def _is_assignment(config: Path | None) -> bool:
    return config is not None and "=" in str(config) and not config.exists()


def _from_file(config: Path, overrides: Sequence[str], wish: Wish, data: str | None) -> Experiment:
    """Return the experiment of a TOML file, changed by the options."""
    from recsys.config import located, override, read_toml

    tree = override(_changed(read_toml(config), wish, data), overrides)
    path = located(config)
    refuse_early(tree, str(path))

    from recsys.experiment.experiment import from_tree

    return from_tree(tree, str(path), default_name=path.stem)


def _changed(tree: dict[str, Any], wish: Wish, data: str | None) -> dict[str, Any]:
    """Return the values of a TOML file with what the options say in their place."""
    from recsys.quickstart import data_table, evaluation_table

    if data is not None:
        tree["data"] = data_table(data)
    if wish.model is not None and tree.get("model", {}).get("name") != wish.model:
        tree["model"] = {"name": wish.model}
    if wish.metric is not None or wish.k is not None:
        tree["evaluate"] = {**tree.get("evaluate", {}), **evaluation_table(wish.metric, wish.k)}
    return tree


def refuse_early(tree: Mapping[str, Any], place: str) -> None:
    """Refuse a method that does not exist, and data that are not there.

    Args:
        tree: the plain values of an experiment.
        place: the file that they come from.

    Raises:
        InputError: the same error as later, after the import of torch.
    """
    from recsys.files import missing
    from recsys.quickstart import canonical

    model, data = tree.get("model"), tree.get("data")
    if isinstance(model, Mapping) and isinstance(model.get("name"), str):
        try:
            canonical(model["name"])
        except InputError as error:
            raise error.at(f"{place}: [model] name") from None
    if isinstance(data, Mapping) and isinstance(data.get("path"), str):
        path = Path(data["path"]).expanduser()
        beginning = f"{path.name}."
        folder = path.parent
        others = folder.iterdir() if folder.is_dir() else iter(())
        if not path.exists() and not any(each.name.startswith(beginning) for each in others):
            raise missing(path.resolve())


def own_data(word: str, overrides: Sequence[str]) -> StartingData:
    """Load the data that a word names, as the assignments to `data` say."""
    from recsys.config import override
    from recsys.quickstart import data_table, starting_data

    tree = override({"data": data_table(word)}, overrides)
    _refuse_sections(tree)
    return starting_data(tree["data"])


def _refuse_sections(tree: Mapping[str, Any]) -> None:
    """Refuse an assignment to a section that no experiment has."""
    from recsys.errors import suggest

    known = ("data", "split", "model", "train", "evaluate", "name", "refit", "tune")
    for key in tree:
        if key not in known:
            raise InputError(
                f"unknown section or key '{key}'",
                place="command line",
                remedy=suggest(key, known),
            )


def _from_data(word: str, overrides: Sequence[str], wish: Wish) -> Started:
    """Return the experiment about data alone; the data are loaded on the way."""
    from recsys.config import override
    from recsys.quickstart import starting_tree

    data = own_data(word, overrides)
    tree = starting_tree(data, wish)
    if any(each.startswith("split.by=") for each in overrides):
        tree["split"] = {}  # the settings of the usual rule do not fit another one
    tree = override(tree, overrides)
    refuse_early({"model": tree["model"]}, "command line")

    from recsys.data.splitting.splits import split
    from recsys.experiment.experiment import from_tree

    experiment = from_tree(tree)
    return Started(experiment, split(data.loaded, experiment.split), data)
