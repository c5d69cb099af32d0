"""The settings that a study tries before its sampler proposes any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.experiment.execution import open_run
from recsys.experiment.experiment import Experiment
from recsys.experiment.search_space import Dimension, get
from recsys.study.artifact import is_study, open_study
from recsys.study.meta import QueuedTrial

__all__ = ["first_trials"]


def first_trials(experiment: Experiment) -> tuple[QueuedTrial, ...]:
    """Return the experiment's own settings, then those of [tune] warm, without duplicates.

    Raises:
        InputError: a folder of `warm` holds no run or study, or is of another method.
    """
    assert experiment.tune is not None
    sources = [("own", experiment)]
    sources += [
        (f"warm: {folder}", _warm(Path(folder), experiment)) for folder in experiment.tune.warm
    ]
    queue: list[QueuedTrial] = []
    for origin, source in sources:
        tree = source.to_tree()
        settings = {
            dimension.path: _in_space(get(tree, dimension.path), dimension)
            for dimension in experiment.dimensions
        }
        if all(settings != queued.settings for queued in queue):
            queue.append(QueuedTrial(origin=origin, settings=settings))
    return tuple(queue)


def _in_space(value: Any, dimension: Dimension) -> Any:
    """Return a value as the space writes it if it is one of the choices, and as plain JSON."""
    choice = dimension.chosen(value) if dimension.range.choices is not None else None
    value = value if choice is None else choice
    return list(value) if isinstance(value, tuple) else value


def _warm(folder: Path, experiment: Experiment) -> Experiment:
    """Return the experiment of an earlier run, or the best one of an earlier study."""
    place = "[tune] warm"
    if is_study(folder):
        best = open_study(folder).best_experiment()
        if best is None:
            raise InputError(
                f"the study {folder} has no complete trial within its limits",
                place=place,
                remedy="leave it out",
            )
        earlier = best
    else:
        try:
            earlier = open_run(folder, finished=False).experiment
        except InputError as error:
            raise error.at(place) from None
    if earlier.method != experiment.method:
        raise InputError(
            f"{folder} is of the method '{earlier.method}', not '{experiment.method}'",
            place=place,
            remedy="leave it out",
        )
    return earlier
