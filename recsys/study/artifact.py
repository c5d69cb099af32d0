"""The folder of a study, and the study read from it.

config.toml          the resolved experiment with its [tune]
study.json           status, fingerprints of study and split, budget used, environment
study.journal        the trials, in Optuna's words (not there where they are in a database)
trials.parquet       the trials as a table, which another study can begin with
best.toml            the experiment with the best settings, for `recsys run`
trials/0007/         config.toml and history.jsonl of each trial; a checkpoint while it runs
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from recsys.files import read_json, write_json, write_text
from recsys.notebook import Shown, counted, facts_html, table_html
from recsys.study.sampler import from_params, sides
from recsys.study.storage import open_journal, open_url, quiet
from recsys.study.trial import directions, objectives, with_settings
from recsys.study.trials_file import write_trials

__all__ = [
    "FORMAT",
    "Study",
    "Trial",
    "identity",
    "is_study",
    "look_again",
    "open_study",
    "searched",
    "study_name",
    "trial_folder",
    "write_results",
]

FORMAT = 1  # of the folder; raised when an older reader would misread a newer folder
_SHOWN = 20  # trials in a notebook
_DAMAGED = "the study is damaged: restore it, or start a new one"
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: from 0, in the order they began.
        state: "complete", "pruned", "failed", "running", "waiting", or "lost" where another trial took its place.
        values: of the objectives; empty unless complete.
        settings: value of each searched field by path.
        origin: "own" settings of the experiment, "warm" from an earlier run, "imported", or the sampler.
        seconds: of training and evaluation on valid.
        reason: why it was ended or failed.
        within: whether it keeps to the limits.
        curve: the monitor on valid by epoch.
        facts: best epoch, metrics on valid, and what was measured.
    """

    number: int
    state: str
    values: tuple[float, ...]
    settings: Mapping[str, Any]
    origin: str = ""
    seconds: float = 0.0
    reason: str = ""
    within: bool = True
    curve: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Study(Shown):
    """A study's folder, opened for reading."""

    folder: Path
    meta: dict[str, Any]
    url: str | None = None
    ended: dict[int, Trial] = field(default_factory=dict, repr=False)
    """Trials that will not change, by number: read once, though the study is looked at after each."""

    def _facts(self) -> Iterator[tuple[str, object]]:
        used, best = self.meta.get("used", {}), self.meta.get("best")
        yield "", str(self.meta.get("name", self.folder.name))
        yield "", str(self.meta.get("status"))
        yield "", counted(int(used.get("trials", 0)), "trial")
        if best:
            names = self.meta.get("objectives", ())
            for name, value in zip(names, best["values"], strict=False):
                yield f"best {name}", f"{value:.4f} (trial {best['number']})"
        yield "folder", self.folder

    def _repr_html_(self) -> str:
        frame = self.table().head(_SHOWN)
        rows = [
            [
                "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else cell
                for cell in row
            ]
            for row in frame.iter_rows()
        ]
        best = self.best
        bold = {
            (place, column): best is not None and row["number"] == best.number
            for place, row in enumerate(frame.iter_rows(named=True))
            for column in range(frame.width)
        }
        left = len(self.trials) - frame.height
        notes = [f"{left} more in table()"] if left > 0 else []
        trials = table_html(frame.columns, rows, notes=notes, bold=bold)
        return facts_html("Study", self._facts()) + trials

    @cached_property
    def experiment(self) -> Experiment:
        """The resolved experiment with its [tune]."""
        path = self.folder / "config.toml"
        try:
            tree = from_toml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", place=str(path), remedy=_DAMAGED) from None
        experiment = from_tree(tree, str(path))
        if experiment.tune is None:
            raise InputError("has no [tune]", place=str(path), remedy=_DAMAGED)
        return experiment

    @cached_property
    def storage(self) -> BaseStorage:
        """Where its trials are."""
        url = self.url or self.meta.get("storage")
        if url:
            return open_url(url)
        path = self.folder / "study.journal"
        if not path.exists():
            raise InputError("no such file", place=str(path), remedy=_DAMAGED)
        return open_journal(path)

    @cached_property
    def optuna(self) -> OptunaStudy:
        """The study as Optuna has it, for its own tools."""
        with quiet():
            try:
                return optuna.load_study(
                    study_name=self.meta["study"],
                    storage=self.storage,
                    sampler=optuna.samplers.RandomSampler(seed=0),
                )
            except KeyError:
                raise InputError(
                    f"holds no study '{self.meta['study']}'",
                    place=str(self.folder),
                    remedy=_DAMAGED,
                ) from None

    @property
    def objectives(self) -> tuple[str, ...]:
        """What it makes better."""
        return objectives(self.experiment)

    @cached_property
    def trials(self) -> list[Trial]:
        """All trials, as they were when first asked for."""
        found = []
        for frozen in self.optuna.get_trials(deepcopy=False):
            trial = self.ended.get(frozen.number) or _trial(self.experiment, frozen)
            if frozen.state.is_finished():
                self.ended[frozen.number] = trial
            found.append(trial)
        return found

    @property
    def best(self) -> Trial | None:
        """The complete trial within the limits that is best in the first objective; the earliest of equals. None where there is none."""
        maximize = directions(self.experiment)[0]
        fit = [trial for trial in self.trials if trial.state == "complete" and trial.within]
        return min(
            fit,
            key=lambda trial: (-trial.values[0] if maximize else trial.values[0], trial.number),
            default=None,
        )

    @property
    def front(self) -> list[Trial]:
        """The complete trials within the limits that no other beats in all objectives, best first objective first."""
        signs = [1 if up else -1 for up in directions(self.experiment)]
        fit = [trial for trial in self.trials if trial.state == "complete" and trial.within]
        gains = {
            trial.number: [sign * value for sign, value in zip(signs, trial.values, strict=True)]
            for trial in fit
        }

        def beaten(trial: Trial) -> bool:
            own = gains[trial.number]
            return any(
                other != own and all(a >= b for a, b in zip(other, own, strict=True))
                for number, other in gains.items()
                if number != trial.number
            )

        return sorted(
            (trial for trial in fit if not beaten(trial)),
            key=lambda trial: (-gains[trial.number][0], trial.number),
        )

    def best_experiment(self) -> Experiment | None:
        """The experiment with the settings of the best trial."""
        best = self.best
        return (
            None
            if best is None
            else with_settings(self.experiment, self.experiment.dimensions, best.settings)
        )

    def used(self) -> dict[str, float]:
        """The budget used: trials, wall seconds, and seconds of training added up over all workers; imported trials cost nothing."""
        own = [
            trial
            for trial in self.trials
            if trial.origin != "imported" and trial.state not in ("lost", "waiting", "running")
        ]
        return {
            "trials": len(own),
            "seconds": self.meta.get("used", {}).get("seconds", 0.0),
            "device_seconds": round(sum(t.seconds for t in own), 3),
        }

    @cached_property
    def inside(self) -> OptunaStudy:
        """Its complete trials whose settings lie in the space, under the first objective: what can be said of the space rests on these."""
        paths = {dimension.path for dimension in self.experiment.dimensions}
        with quiet():
            found = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(),
                directions=sides(directions(self.experiment)[:1]),
            )
        for frozen in self.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if frozen.params.keys() == paths:
                found.add_trial(
                    optuna.trial.create_trial(
                        value=frozen.values[0],
                        params=frozen.params,
                        distributions=frozen.distributions,
                    )
                )
        return found

    def importance(self) -> dict[str, float]:
        """Share of the differences in the first objective that each field explains (PED-ANOVA, Watanabe et al., 2023), largest first.

        Empty with fewer than four complete trials, or where all are equal: then there is nothing to explain.
        """
        values = [frozen.values[0] for frozen in self.inside.get_trials(deepcopy=False)]
        if len(values) < 4 or len(set(values)) < 2:
            return {}
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                self.inside, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def table(self) -> pl.DataFrame:
        """Return the trials: number, state, objectives, origin, seconds, best epoch, marks, reason, and a column per searched field.

        Marks are those of `recsys.training.stopping`: a training that ended too early. Tables among the settings are JSON.
        """
        rows = []
        for trial in self.trials:
            row: dict[str, Any] = {"number": trial.number, "state": trial.state}
            row |= {
                name: trial.values[i] if trial.values else None
                for i, name in enumerate(self.objectives)
            }
            row |= {"within": trial.within, "origin": trial.origin, "seconds": trial.seconds}
            ended = trial.facts.get("stopping", {})
            row |= {
                "best_epoch": trial.facts.get("best_epoch"),
                "marks": ", ".join(ended.get("marks", ())) or None,
                "reason": trial.reason or None,
            }
            rows.append(row | {path: _cell(value) for path, value in trial.settings.items()})
        schema: dict[str, Any] = {
            "number": pl.Int64,
            "state": pl.String,
            **dict.fromkeys(self.objectives, pl.Float64),
        }
        schema |= {
            "within": pl.Boolean,
            "origin": pl.String,
            "seconds": pl.Float64,
            "best_epoch": pl.Int64,
            "marks": pl.String,
            "reason": pl.String,
        }
        for dimension in self.experiment.dimensions:
            kinds = {
                type(row[dimension.path]) for row in rows if row.get(dimension.path) is not None
            }
            kind = kinds.pop() if len(kinds) == 1 else float if kinds == {int, float} else str
            schema[dimension.path] = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64}.get(
                kind, pl.String
            )
            if kind is str:
                for row in rows:
                    value = row.get(dimension.path)
                    row[dimension.path] = (
                        value if value is None or isinstance(value, str) else json.dumps(value)
                    )
        return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def is_study(folder: Path) -> bool:
    """Whether a folder is one of a study."""
    return (folder / "study.json").exists()


def open_study(folder: str | Path, *, storage: str | None = None) -> Study:
    """Open the folder of a study, finished or not.

    Args:
        folder: that `recsys tune` printed.
        storage: URL of its database, where it needs a password that is not in the environment.

    Raises:
        InputError: it is none, or of a newer format.
    """
    folder = Path(folder)
    if not is_study(folder):
        raise InputError(
            "is not the folder of a study: it has no study.json",
            place=str(folder),
            remedy="give the folder that `recsys tune` printed",
        )
    meta = read_json(folder / "study.json")
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int):
        raise InputError(
            "has a study.json that is not of a study",
            place=str(folder),
            remedy="give the folder that `recsys tune` printed",
        )
    if meta["format"] > FORMAT:
        raise InputError(
            f"was written by a newer version (format {meta['format']})",
            place=str(folder),
            remedy="update recsys",
        )
    for key in ("status", "study", "identity", "split", "id"):
        if not isinstance(meta.get(key), str):
            raise InputError(
                f"has a study.json without '{key}'", place=str(folder), remedy=_DAMAGED
            )
    return Study(folder, meta, storage)


def identity(experiment: Experiment) -> str:
    """SHA-256 of all that decides what a study finds, but its budget."""
    return hashlib.sha256(
        json.dumps(
            [experiment.fingerprint, searched(experiment)], sort_keys=True, default=str
        ).encode()
    ).hexdigest()


def searched(experiment: Experiment) -> dict[str, Any]:
    """[tune] in plain values, without the budget and without where to begin."""
    return {
        key: value
        for key, value in experiment.to_tree().get("tune", {}).items()
        if key not in ("trials", "seconds", "device_seconds", "warm")
    }


def study_name(experiment: Experiment) -> str:
    """What the study is called in its storage: the same wherever and whenever it is begun."""
    return f"{experiment.name}-{identity(experiment)[:12]}"


def trial_folder(folder: Path, number: int) -> Path:
    """The folder of a trial."""
    return folder / "trials" / f"{number:04d}"


def look_again(study: Study, **changes: Any) -> Study:
    """The study as it is now, with `changes` of its meta."""
    now = Study(study.folder, dict(study.meta) | changes, study.url, study.ended)
    for name in ("storage", "optuna", "experiment"):  # opened once
        if name in study.__dict__:
            now.__dict__[name] = study.__dict__[name]
    return now


def write_results(study: Study, **changes: Any) -> Study:
    """Write what follows from the trials: the table, the best experiment, the budget used. Returns the study as it is now."""
    now = look_again(study, **changes)
    write_trials(now.folder / "trials.parquet", now.table(), now.experiment, now.meta["split"])
    best, experiment = now.best, now.best_experiment()
    if best is not None and experiment is not None:
        value = ", ".join(
            f"{name} {value:.6g}" for name, value in zip(now.objectives, best.values, strict=True)
        )
        text = f"# Trial {best.number} of a study of {now.used()['trials']:g} trials, the best on validation: {value}.\n\n{experiment.to_toml()}"
        write_text(now.folder / "best.toml", text)
    now.meta["used"] = now.used()
    now.meta["best"] = (
        None if best is None else {"number": best.number, "values": list(best.values)}
    )
    write_json(now.folder / "study.json", now.meta)
    return now


def _trial(experiment: Experiment, frozen: FrozenTrial) -> Trial:
    attrs, dimensions = frozen.user_attrs, experiment.dimensions
    settings = attrs.get("settings")
    if settings is None and frozen.params.keys() >= {dimension.path for dimension in dimensions}:
        settings = from_params(dimensions, frozen.params)
    state = _STATES[frozen.state]
    return Trial(
        number=frozen.number,
        state="lost" if state == "failed" and "reason" not in attrs else state,
        values=tuple(frozen.values or ()) if frozen.state == TrialState.COMPLETE else (),
        settings=settings or {},
        origin=str(attrs.get("origin", "")),
        seconds=float(attrs.get("seconds", 0.0)),
        reason=str(attrs.get("reason", "")),
        within=all(value <= 0 for value in frozen.constraints.values()),
        curve=dict(frozen.intermediate_values),
        facts=attrs.get("facts", {}),
    )


def _cell(value: Any) -> Any:
    return (
        json.dumps(value, sort_keys=True)
        if isinstance(value, Mapping | Sequence) and not isinstance(value, str)
        else value
    )
