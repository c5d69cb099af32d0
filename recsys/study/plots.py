"""Pictures of a study, drawn by Optuna with matplotlib.

They show history, importance, slices, contours, parallel coordinates and learning curves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.files import write_atomic
from recsys.study.artifact import Study
from recsys.study.storage import quiet

__all__ = ["plot"]

_MOST_FIELDS = 6  # of a picture of pairs; the most important ones are shown


def plot(study: Study, folder: Path) -> list[Path]:
    """Draw a study into a folder, an SVG file per picture.

    The pictures show the complete trials whose settings lie in the space. Of several objectives,
    they show the first.

    Args:
        study: the study.
        folder: the folder to write into.

    Returns:
        The files. A picture that needs more trials than there are is left out.

    Raises:
        InputError: matplotlib is not installed, or the folder cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib import pyplot
    except ImportError:
        raise InputError(
            "pictures need matplotlib", place=str(folder), remedy="pip install 'recsys[plot]'"
        ) from None
    weights = study.importance()
    searched = [dimension.path for dimension in study.experiment.dimensions]
    fields = (list(weights) or searched)[:_MOST_FIELDS]
    written = []
    with (
        quiet(),
        warnings.catch_warnings(),
        mpl.rc_context({"svg.hashsalt": "recsys", "figure.max_open_warning": 0}),
    ):
        warnings.simplefilter("ignore")  # about fields with a single value
        for picture, draw in _pictures(study, fields, has_weights=bool(weights)).items():
            draw()
            figure = pyplot.gcf()
            if picture == "contour":
                figure.set_size_inches(3 * len(fields) + 2, 3 * len(fields))
            else:
                figure.set_size_inches(max(7, 2 * len(fields)), 5)
            path = folder / f"{picture}.svg"
            write_atomic(
                path,
                partial(figure.savefig, format="svg", bbox_inches="tight", metadata={"Date": None}),
            )
            pyplot.close(figure)
            written.append(path)
    return written


def _pictures(
    study: Study, fields: list[str], *, has_weights: bool
) -> dict[str, Callable[[], Any]]:
    """Return the pictures that this study can show, by name, as functions that draw them."""
    from optuna.visualization import matplotlib as optuna_plots

    trials = study.inside
    known = len(trials.get_trials(deepcopy=False))
    name = study.objectives[0]
    pictures: dict[str, Callable[[], Any]] = {}
    if known:
        pictures["history"] = partial(
            optuna_plots.plot_optimization_history, trials, target_name=name
        )
        pictures["slice"] = partial(
            optuna_plots.plot_slice, trials, params=fields, target_name=name
        )
    if has_weights:
        pictures["importance"] = partial(
            optuna_plots.plot_param_importances, trials, target_name=name
        )
    if known > 1 and len(fields) > 1:
        pictures["contour"] = partial(
            optuna_plots.plot_contour, trials, params=fields, target_name=name
        )
        pictures["parallel"] = partial(
            optuna_plots.plot_parallel_coordinate, trials, params=fields, target_name=name
        )
    if any(trial.curve for trial in study.trials):
        pictures["curves"] = partial(optuna_plots.plot_intermediate_values, study.optuna)
    return pictures
