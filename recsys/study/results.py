"""The files that follow from the trials of a study: trials.parquet, best.toml and study.json."""

from __future__ import annotations

from typing import Any

from recsys.files import write_text
from recsys.study.artifact import Study
from recsys.study.meta import BestTrial, write_meta
from recsys.study.trials_file import write_trials

__all__ = ["write_results"]


def write_results(study: Study, *, seconds: float | None = None, **changes: Any) -> Study:
    """Write the table of trials, the best experiment and the budget used.

    Args:
        study: the study.
        seconds: the wall time used so far, if it has changed.
        changes: other values of the record that have changed.

    Returns:
        The study as it is now.
    """
    now = study.refreshed(seconds=seconds, **changes)
    write_trials(now.folder / "trials.parquet", now.table(), now.experiment, now.meta.split)
    best, used = now.best, now.used()
    experiment = now.best_experiment()
    if best is not None and experiment is not None:
        values = ", ".join(
            f"{name} {value:.6g}" for name, value in zip(now.objectives, best.values, strict=True)
        )
        heading = (
            f"# Trial {best.number} of a study of {used.trials:g} trials, "
            f"the best on validation: {values}."
        )
        write_text(now.folder / "best.toml", f"{heading}\n\n{experiment.to_toml()}")
    now = now.refreshed(
        used=used,
        best=None if best is None else BestTrial(number=best.number, values=best.values),
    )
    write_meta(now.folder, now.meta)
    return now
