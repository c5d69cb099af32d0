"""Checks of a study before its first trial."""

from __future__ import annotations

from recsys.errors import InputError
from recsys.experiment.experiment import Experiment
from recsys.experiment.search_space import corners
from recsys.study.sampler import check_sampler
from recsys.study.trial import directions, objectives, with_settings

__all__ = ["ready"]


def ready(experiment: Experiment) -> None:
    """Check all that can be checked of a study before its first trial.

    Raises:
        InputError: a part of [tune] is missing or contradicts another.
    """
    tune, dimensions = experiment.tune, experiment.dimensions
    if tune is None or not dimensions:
        raise InputError(
            "there is nothing to search",
            place="[tune.space]",
            remedy='name fields, as in "train.lr" = { low = 1e-4, high = 1e-2, log = true }',
        )
    directions(experiment)
    check_sampler(tune, dimensions)
    if tune.pruner != "none" and objectives(experiment) != (experiment.evaluate.monitor,):
        raise InputError(
            f"pruner = '{tune.pruner}' looks at the monitor, '{experiment.evaluate.monitor}'",
            place="[tune]",
            remedy="make it the objective",
        )
    for settings in corners(dimensions):
        try:
            with_settings(experiment, dimensions, settings)
        except InputError as error:
            chosen = ", ".join(f"{path} = {value!r}" for path, value in settings.items())
            remedy = f"{error.remedy}, or put what goes together into the choices of one path"
            raise InputError(
                f"{error.cause} (with {chosen})",
                place=f"[tune.space]: {error.place}",
                remedy=remedy,
            ) from None
