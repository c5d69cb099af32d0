"""The folder of a study, opened for reading.

config.toml          the resolved experiment with its [tune]
study.json           status, fingerprints of study and split, budget used, environment
study.journal        the trials, in Optuna's format (missing if they are in a database)
trials.parquet       the trials as a table, which another study can import
best.toml            the experiment with the best settings, for `recsys run`
trials/0007/         config.toml and history.jsonl of each trial; a checkpoint while it runs
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.storages import BaseStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from recsys.config import from_toml
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment, from_tree
from recsys.notebook import Shown, counted, facts_html, table_html
from recsys.study.attributes import Facts, TrialAttributes
from recsys.study.meta import DAMAGED, StudyMeta, Used, is_study, read_meta
from recsys.study.sampler import from_params, sides
from recsys.study.storage import open_journal, open_url, quiet
from recsys.study.trial import directions, objectives, with_settings
from recsys.study.trial_record import Trial
from recsys.study.trial_table import trial_table

__all__ = ["JOURNAL", "Opened", "Study", "Trial", "is_study", "open_study", "trial_folder"]

JOURNAL = "study.journal"
_SHOWN = 20  # trials in a notebook
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Opened:
    """What is read once from the folder of a study, and shared by all its later states.

    Args:
        folder: the folder of the study.
        meta: its record, as first read.
        url: URL of its database, if that needs a password which is not in the environment.
    """

    def __init__(self, folder: Path, meta: StudyMeta, url: str | None = None) -> None:
        self.folder = folder
        self.url = url
        self._name = meta.study
        self._storage_url = url or meta.storage
        self.ended: dict[int, Trial] = {}
        """Trials that will not change, by number. They are read only once."""

    @cached_property
    def experiment(self) -> Experiment:
        """The resolved experiment with its [tune]."""
        path = self.folder / "config.toml"
        try:
            tree = from_toml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", place=str(path), remedy=DAMAGED) from None
        experiment = from_tree(tree, str(path))
        if experiment.tune is None:
            raise InputError("has no [tune]", place=str(path), remedy=DAMAGED)
        return experiment

    @cached_property
    def storage(self) -> BaseStorage:
        """The storage of the trials."""
        if self._storage_url:
            return open_url(self._storage_url)
        path = self.folder / JOURNAL
        if not path.exists():
            raise InputError("no such file", place=str(path), remedy=DAMAGED)
        return open_journal(path)

    @cached_property
    def optuna(self) -> OptunaStudy:
        """The study as an object of Optuna."""
        with quiet():
            try:
                return optuna.load_study(
                    study_name=self._name,
                    storage=self.storage,
                    sampler=optuna.samplers.RandomSampler(seed=0),
                )
            except KeyError:
                raise InputError(
                    f"holds no study '{self._name}'", place=str(self.folder), remedy=DAMAGED
                ) from None


@dataclass(frozen=True, eq=False, repr=False)
class Study(Shown):
    """The state of a study at one moment, read from its folder.

    Args:
        meta: the record of the study.
        opened: its experiment and its storage.
    """

    meta: StudyMeta
    opened: Opened

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return self.opened.folder

    @property
    def url(self) -> str | None:
        """URL of its database, if it was given on opening."""
        return self.opened.url

    @property
    def experiment(self) -> Experiment:
        """The resolved experiment with its [tune]."""
        return self.opened.experiment

    @property
    def storage(self) -> BaseStorage:
        """The storage of the trials."""
        return self.opened.storage

    @property
    def optuna(self) -> OptunaStudy:
        """The study as an object of Optuna, for Optuna's own tools."""
        return self.opened.optuna

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", self.meta.name
        yield "", self.meta.status
        yield "", counted(self.meta.used.trials if self.meta.used else 0, "trial")
        if self.meta.best is not None:
            for name, value in zip(self.meta.objectives, self.meta.best.values, strict=False):
                yield f"best {name}", f"{value:.4f} (trial {self.meta.best.number})"
        yield "folder", self.folder

    def _repr_html_(self) -> str:
        frame = self.table().head(_SHOWN)
        best = self.best
        is_bold = {
            (index, column): best is not None and row["number"] == best.number
            for index, row in enumerate(frame.iter_rows(named=True))
            for column in range(frame.width)
        }
        rows = [[_shown(cell) for cell in row] for row in frame.iter_rows()]
        hidden = len(self.trials) - frame.height
        notes = [f"{hidden} more in table()"] if hidden > 0 else []
        trials = table_html(frame.columns, rows, notes=notes, bold=is_bold)
        return facts_html("Study", self._facts()) + trials

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return objectives(self.experiment)

    @cached_property
    def trials(self) -> list[Trial]:
        """All trials, as they were when this property was first read."""
        trials = []
        for frozen in self.optuna.get_trials(deepcopy=False):
            trial = self.opened.ended.get(frozen.number) or _trial(self.experiment, frozen)
            if frozen.state.is_finished():
                self.opened.ended[frozen.number] = trial
            trials.append(trial)
        return trials

    @property
    def _candidates(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "complete" and trial.within]

    @property
    def best(self) -> Trial | None:
        """The complete trial within the limits that is best in the first objective.

        The earliest of equal trials; None without any.
        """
        maximize = directions(self.experiment)[0]
        return min(
            self._candidates,
            key=lambda trial: (-trial.values[0] if maximize else trial.values[0], trial.number),
            default=None,
        )

    @property
    def front(self) -> list[Trial]:
        """The Pareto front: complete trials within the limits that no other trial dominates.

        Sorted by the first objective, best first.
        """
        signs = [1 if up else -1 for up in directions(self.experiment)]
        gains = {
            trial.number: [sign * value for sign, value in zip(signs, trial.values, strict=True)]
            for trial in self._candidates
        }

        def is_dominated(trial: Trial) -> bool:
            own = gains[trial.number]
            return any(
                other != own and all(a >= b for a, b in zip(other, own, strict=True))
                for number, other in gains.items()
                if number != trial.number
            )

        return sorted(
            (trial for trial in self._candidates if not is_dominated(trial)),
            key=lambda trial: (-gains[trial.number][0], trial.number),
        )

    def best_experiment(self) -> Experiment | None:
        """Return the experiment with the settings of the best trial; None without a best trial."""
        best = self.best
        if best is None:
            return None
        return with_settings(self.experiment, self.experiment.dimensions, best.settings)

    def used(self) -> Used:
        """Return the budget used so far. Imported trials cost nothing."""
        own = [trial for trial in self.trials if trial.is_own]
        return Used(
            trials=len(own),
            seconds=self.meta.used.seconds if self.meta.used else 0.0,
            device_seconds=round(sum(trial.seconds for trial in own), 3),
        )

    def refreshed(self, *, seconds: float | None = None, **changes: Any) -> Study:
        """Return the study as it is now.

        Args:
            seconds: the wall time used so far, if it has changed.
            changes: other values of the record that have changed.
        """
        if seconds is not None:
            changes["used"] = replace(self.meta.used or Used(), seconds=seconds)
        return Study(replace(self.meta, **changes), self.opened)

    @cached_property
    def inside(self) -> OptunaStudy:
        """The complete trials whose settings lie in the space, under the first objective.

        Statistics about the space rest on these trials.
        """
        paths = {dimension.path for dimension in self.experiment.dimensions}
        with quiet():
            study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(),
                directions=sides(directions(self.experiment)[:1]),
            )
        for frozen in self.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if frozen.params.keys() == paths:
                study.add_trial(
                    optuna.trial.create_trial(
                        value=frozen.values[0],
                        params=frozen.params,
                        distributions=frozen.distributions,
                    )
                )
        return study

    def importance(self) -> dict[str, float]:
        """Return the importance of each field for the first objective, largest first.

        The importance is the share of the variance that the field explains: PED-ANOVA (Watanabe et
        al., 2023). It is empty with fewer than four complete trials, or if all values are equal.
        """
        values = [frozen.values[0] for frozen in self.inside.get_trials(deepcopy=False)]
        if len(values) < 4 or len(set(values)) < 2:
            return {}
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(
                self.inside, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
        return dict(sorted(shares.items(), key=lambda pair: (-pair[1], pair[0])))

    def table(self) -> pl.DataFrame:
        """Return the trials as a table.

        Columns: number, state, objectives, within, origin, seconds, best_epoch, marks, reason, and
        one per searched field. Marks are those of `recsys.training.stopping`, for a training that
        ended too early. Tables among the settings are written as JSON.
        """
        return trial_table(self.trials, self.objectives, self.experiment.dimensions)


def open_study(folder: str | Path, *, storage: str | None = None) -> Study:
    """Open the folder of a study, finished or not.

    Args:
        folder: the folder that `recsys tune` printed.
        storage: URL of its database, if that needs a password which is not in the environment.

    Raises:
        InputError: the folder holds no study, its format is newer, or study.json is damaged.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    return Study(meta, Opened(folder, meta, storage))


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial within the folder of its study."""
    return folder / "trials" / f"{number:04d}"


def _trial(experiment: Experiment, frozen: FrozenTrial) -> Trial:
    attributes, dimensions = TrialAttributes.of(frozen), experiment.dimensions
    settings = attributes.settings
    if settings is None and frozen.params.keys() >= {dimension.path for dimension in dimensions}:
        settings = from_params(dimensions, frozen.params)
    state = _STATES[frozen.state]
    if state == "failed" and attributes.reason is None:
        state = "lost"
    return Trial(
        number=frozen.number,
        state=state,
        values=tuple(frozen.values or ()) if frozen.state == TrialState.COMPLETE else (),
        settings=settings or {},
        origin=attributes.origin or "",
        seconds=float(attributes.seconds or 0.0),
        reason=attributes.reason or "",
        within=all(value <= 0 for value in frozen.constraints.values()),
        curve=dict(frozen.intermediate_values),
        facts=attributes.facts or Facts(),
    )


def _shown(cell: object) -> object:
    """Return a cell of the table as a notebook shows it."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else cell
