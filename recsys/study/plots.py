"""Pictures of a study, drawn by Optuna with matplotlib: history, importance, slices, contours, parallel coordinates, curves."""

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

_FEW = 6  # fields at most in a picture of pairs, the most important first


def plot(study: Study, folder: Path) -> list[Path]:
    """Draw a study into a folder, an SVG file each: the complete trials whose settings lie in the space, of several objectives the first.

    Returns:
        The files: those that a study of so few trials has something to show in.

    Raises:
        InputError: matplotlib is not installed, or the folder cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as draw
    except ImportError:
        raise InputError(
            "pictures need matplotlib", place=str(folder), remedy="pip install 'recsys[plot]'"
        ) from None
    weights = study.importance()
    searched = [dimension.path for dimension in study.experiment.dimensions]
    fields = (list(weights) or searched)[:_FEW]
    known = len(study.inside.get_trials(deepcopy=False))
    name = study.objectives[0]
    pictures: dict[str, Callable[[], Any]] = {}
    if known:
        pictures["history"] = lambda: draw.plot_optimization_history(study.inside, target_name=name)
        pictures["slice"] = lambda: draw.plot_slice(study.inside, params=fields, target_name=name)
    if weights:
        pictures["importance"] = lambda: draw.plot_param_importances(study.inside, target_name=name)
    if known > 1 and len(fields) > 1:
        pictures["contour"] = lambda: draw.plot_contour(
            study.inside, params=fields, target_name=name
        )
        pictures["parallel"] = lambda: draw.plot_parallel_coordinate(
            study.inside, params=fields, target_name=name
        )
    if any(trial.curve for trial in study.trials):
        pictures["curves"] = lambda: draw.plot_intermediate_values(study.optuna)
    written = []
    with (
        quiet(),
        warnings.catch_warnings(),
        mpl.rc_context({"svg.hashsalt": "recsys", "figure.max_open_warning": 0}),
    ):
        warnings.simplefilter(
            "ignore"
        )  # of fields with one value, of which there is nothing to draw
        for picture, draw_it in pictures.items():
            draw_it()
            figure = pyplot.gcf()
            figure.set_size_inches(
                3 * len(fields) + 2, 3 * len(fields)
            ) if picture == "contour" else figure.set_size_inches(max(7, 2 * len(fields)), 5)
            path = folder / f"{picture}.svg"
            write_atomic(
                path,
                partial(figure.savefig, format="svg", bbox_inches="tight", metadata={"Date": None}),
            )
            pyplot.close(figure)
            written.append(path)
    return written
