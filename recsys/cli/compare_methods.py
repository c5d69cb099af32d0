"""Methods that `recsys compare` and `recsys benchmark` run on data that no TOML file describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from recsys.cli.show import Follow, split_line, stamped
from recsys.cli.starting import own_data, refuse_early
from recsys.errors import InputError

__all__ = ["MethodsOnData", "methods_on_data", "run_methods"]


@dataclass(frozen=True)
class MethodsOnData:
    """Data, the methods to run on them, and changes to the usual settings.

    Args:
        data: a file, a folder or the name of a data set.
        methods: names of methods; empty for the usual ones.
        overrides: dotted assignments.
    """

    data: str
    methods: tuple[str, ...]
    overrides: tuple[str, ...]


def methods_on_data(words: Sequence[str], data: str | None) -> MethodsOnData | None:
    """Return the data and the methods that words name, in any order; None if they name runs.

    Args:
        words: what the command line gives.
        data: the data that an option names.

    Raises:
        InputError: methods without data, several data sets, or a word that is neither.
    """
    from recsys.quickstart import canonical, is_data, is_method, refuse_unknown

    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    others = [word for word in words if word not in overrides]
    sets = [word for word in others if is_data(word)] + ([data] if data is not None else [])
    rest = [word for word in others if word not in sets]
    methods = [word for word in rest if is_method(word) and not Path(word).exists()]
    if not sets and not methods and not overrides:
        if not words:
            raise InputError(
                "nothing to compare was given",
                remedy="give data and methods, as in recsys compare ratings.csv ease itemknn, "
                "or folders of runs",
            )
        return None
    if len(sets) > 1:
        raise InputError(
            f"several data sets are given: {', '.join(sets)}",
            remedy="give one, or see recsys benchmark --help",
        )
    for word in sets or [each for each in rest if each not in methods]:
        refuse_unknown(word, "compare")
    if not sets:
        raise InputError(
            f"no data were given for {', '.join(methods or overrides)}",
            remedy=f"recsys compare ratings.csv {' '.join(methods or ['ease', 'itemknn'])}",
        )
    unknown = next((word for word in rest if word not in methods), None)
    if unknown is not None:
        if Path(unknown).exists():
            raise InputError(
                "is not a method", place=unknown, remedy="compare methods on data, or runs alone"
            )
        canonical(unknown)
    names = tuple(dict.fromkeys(canonical(word) for word in methods))
    return MethodsOnData(sets[0], names, tuple(overrides))


def run_methods(
    asked: MethodsOnData, metric: str | None, k: int | None, quiet: bool
) -> tuple[list[Path], str]:
    """Run every method on the same split, each into a folder of its own.

    Args:
        asked: the data and the methods.
        metric: the metric that decides; None: ndcg.
        k: length of the measured lists; None: the usual one.
        quiet: whether only the result is printed.

    Returns:
        The folders of the runs, and the name of the metric that decides.
    """
    from recsys.config import override
    from recsys.files import new_folder
    from recsys.quickstart import BASELINES, Wish, data_name, starting_tree

    methods = asked.methods or BASELINES
    wishes = [Wish(method, metric, k) for method in methods]
    data = own_data(asked.data, asked.overrides)
    trees = [override(starting_tree(data, wish), asked.overrides) for wish in wishes]
    for tree in trees:
        refuse_early({"model": tree["model"]}, "command line")
    if not quiet:
        for note in data.notes:
            typer.echo(f"note: {note}", err=True)

    from recsys.data.splitting.splits import split as make_split
    from recsys.experiment.execution import execute
    from recsys.experiment.experiment import from_tree

    experiments = [from_tree({**tree, "name": tree["model"]["name"]}) for tree in trees]
    split = make_split(data.loaded, experiments[0].split)
    monitor = experiments[0].evaluate.monitor
    runs = []
    with new_folder(Path("runs"), stamped(f"compare-{data_name(data.table)}")) as folder:
        if not quiet:
            typer.echo(split_line(split), err=True)
            typer.echo(
                "default settings of each method, not tuned; refit on train + valid", err=True
            )
        for experiment in experiments:
            follow = Follow(quiet, monitor, brief=not quiet)
            run = execute(experiment, folder / experiment.name, split=split, watch=follow)
            runs.append(run.folder)
            if not quiet:
                value = run.report("test")[monitor]
                typer.echo(
                    f"  {run.name:<12} {monitor} {value:.4f} on test, {run.meta.seconds:6.1f} s",
                    err=True,
                )
    return runs, monitor
