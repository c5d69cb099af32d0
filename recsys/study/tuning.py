"""Studies: a search over an experiment's own fields, on train and valid alone.

    study = recsys.tune("cml.toml", "runs/cml-study")
    study.best, study.table(), study.importance()

The first trial is always the experiment as it stands: published or default settings are the mark that a search has to beat. Trials are fits,
not runs: nothing here is given the test set, and nothing could open it. Killed at any moment and resumed, a study of one worker has the same
trials and the same best value as one that was left alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import optuna

from recsys.config import build, difference, override, read_toml, to_dict
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.execution import data_of, open_run
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.search_space import Tune, corners, get
from recsys.files import LOCK, exclusive, hold_lock, refuse_held, write_atomic, write_json
from recsys.study.artifact import (
    FORMAT,
    Study,
    Trial,
    identity,
    is_study,
    open_study,
    searched,
    study_name,
    write_results,
)
from recsys.study.sampler import check_sampler, sides
from recsys.study.storage import open_journal, open_url, quiet, without_password
from recsys.study.trial import TrainValid, directions, idle, objectives, with_settings
from recsys.study.trials_file import add_trials, read_trials
from recsys.study.worker import Worker, line

__all__ = [
    "Study",
    "TrainValid",
    "Trial",
    "Worker",
    "is_study",
    "line",
    "open_study",
    "read_with_space",
    "ready",
    "spaces",
    "train_valid_of",
    "tune",
]

Watch = Callable[[dict[str, Any]], None]

_BUDGET = ("trials", "seconds", "device_seconds")


def tune(
    experiment: Experiment | str | Path | None,
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    budget: Mapping[str, Any] | None = None,
    workers: int = 1,
    threads: int = 0,
    storage: str | None = None,
    known: str | Path | None = None,
    split: Split | None = None,
    watch: Watch | None = None,
) -> Study:
    """Search the fields of an experiment that its [tune.space] names.

    Args:
        experiment: with a [tune], or the file that holds it; None when resuming takes the one in the folder.
        folder: where; must be new or empty, unless `resume`.
        overrides: dotted settings for a file, such as "tune.trials=50".
        resume: go on with what is there.
        budget: trials, seconds or device_seconds in place of those in [tune]; the way to give a study more.
        workers: processes at once. With more than one, what is tried depends on which is faster.
        threads: CPU threads of each of several workers; 0: the cores, shared out.
        storage: URL of a database that other machines work on too; None keeps a journal in the folder.
        known: trials.parquet of an earlier study of the same experiment and data, whose trials the sampler learns from; they cost no budget.
        split: the data of the experiment, where the caller has loaded it already; not with several workers.
        watch: told of the progress: {"event": "note" | "data" | "begun" | "step" | "epoch" | "trial", ...}.

    Returns:
        The study, its budget used.

    Raises:
        InputError: a path or bound that the experiment does not have, settings that cannot be searched, a folder that is taken, data that have
            changed, and whatever stops a trial for a reason that is not its settings'.
    """
    folder, tell = Path(folder), watch or (lambda _: None)
    if isinstance(experiment, str | Path):
        experiment = read_with_space(experiment, overrides)
    elif overrides:
        raise InputError("overrides are for a file", remedy="change the experiment itself")
    busy = ("study", f"wait for it, or look with recsys tune show {folder}")
    refuse_held(folder, *busy)
    begun, stays = _found(experiment, folder, resume, budget or {}, storage)
    if workers < 1:
        raise InputError(f"workers = {workers}", remedy="give 1 or more")
    if workers > 1 and split is not None:
        raise InputError(
            "several workers load the data themselves", remedy="leave out split, or use one worker"
        )
    ready(stays)
    for path in idle(stays):
        tell(
            {
                "event": "note",
                "said": f"'{path}' is searched and has no effect, whatever the other fields are",
            }
        )
    queue = _queue(stays) if begun is None else []
    if known is not None and begun is not None:
        raise InputError(
            "a study that goes on has its trials already", remedy="give known trials to a new one"
        )
    fresh = begun is None
    with exclusive(folder, *busy):
        # Looked at again, now that nobody else can change it.
        begun, stays = _found(experiment, folder, resume and not fresh, budget or {}, storage)
        try:
            material = train_valid_of(stays, split)
            rows = [] if known is None else read_trials(Path(known), stays, material.fingerprint)
            study = (
                _begin(stays, folder, material, storage, queue, rows)
                if begun is None
                else _again(begun, stays, material)
            )
            began, spent = time.monotonic(), study.used()["seconds"]
            train, valid = material.train, len(material.valid)
            tell(
                {
                    "event": "data",
                    "users": train.n_users,
                    "items": train.n_items,
                    "train": len(train.pairs),
                    "valid": valid,
                    "rule": material.rule,
                }
            )
            if workers > 1:
                from recsys.study.pool import work

                work(study, workers, threads, deadline_of(study), tell)
            else:
                Worker(study, material, deadline=deadline_of(study), watch=tell).run()
        except Exception:
            if fresh:
                _forget(folder)
            raise
        with hold_lock(folder / ".take.lock"):
            study = open_study(folder, storage=storage)
            # Not every trial has written what was used: the last word is said here.
            return write_results(
                study,
                status="finished",
                used={"seconds": round(spent + time.monotonic() - began, 3)},
            )


def read_with_space(
    path: str | Path, overrides: Sequence[str] = (), space: str | Path | None = None
) -> Experiment:
    """Read an experiment whose [tune.space] may stand in a file of its own.

    Args:
        path: of the experiment.
        overrides: dotted settings.
        space: a TOML file whose [tune.space] takes the place of the experiment's, and whose other settings of [tune] count where the experiment
            has none; None takes the experiment's own, or, where it has none, the one that ships for its method.

    Raises:
        InputError: as `recsys.experiment.experiment.read`, with the file that is wrong.
    """
    tree = override(read_toml(path), overrides)
    own = tree.get("tune", {})
    model = tree.get("model", {})
    if (
        space is None
        and isinstance(own, Mapping)
        and not own.get("space")
        and isinstance(model, Mapping)
    ):
        shipped = spaces() / f"{model.get('name')}.toml"
        space = shipped if shipped.is_file() else None
    if space is None or not isinstance(own, Mapping):
        return from_tree(tree, str(path), default_name=Path(path).stem)
    more = read_toml(space)
    if (
        set(more) != {"tune"}
        or not isinstance(more["tune"], Mapping)
        or "space" not in more["tune"]
    ):
        raise InputError(
            "is no space",
            place=str(space),
            remedy="a file of a space holds [tune.space], and may hold other settings of [tune]",
        )
    try:
        found = from_tree({**tree, "tune": more["tune"]}, "", default_name=Path(path).stem)
    except InputError as error:
        # The mistake is the space's where the experiment alone has none.
        from_tree({key: value for key, value in tree.items() if key != "tune"}, str(path))
        raise error.at(str(space)) from None
    assert found.tune is not None
    settings = {**more["tune"], **own, "space": more["tune"]["space"]}
    return from_tree({**tree, "tune": settings}, str(path), default_name=Path(path).stem)


def spaces() -> Path:
    """The folder of the spaces that ship: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).parents[1]
    return (package if (package / "configs").is_dir() else package.parent) / "configs" / "spaces"


def ready(experiment: Experiment) -> None:
    """Check all that can be checked of a study before its first trial.

    Raises:
        InputError: what is missing or does not go together.
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


def train_valid_of(experiment: Experiment, split: Split | None = None) -> TrainValid:
    """Train and valid of an experiment's data, without the test.

    Raises:
        InputError: all that loading and splitting can raise, and a split without a valid part.
    """
    split = split or data_of(experiment)
    if split.valid is None or not len(split.valid):
        remedy = "give valid a share in [split] ratios, valid_share or valid_from"
        raise InputError(
            "a study selects on valid, and this split has none", place="[split]", remedy=remedy
        )
    return TrainValid(
        split.train, split.valid, split.fingerprint, split.rule, split.pairs_fingerprint
    )


def deadline_of(study: Study) -> float | None:
    """The moment at which its budget of wall time ends, were it begun again now."""
    assert study.experiment.tune is not None
    limit = study.experiment.tune.seconds
    return (
        None
        if limit is None
        else time.time() + limit - float(study.meta.get("used", {}).get("seconds", 0.0))
    )


def _found(
    experiment: Experiment | None,
    folder: Path,
    resume: bool,
    budget: Mapping[str, Any],
    storage: str | None,
) -> tuple[Study | None, Experiment]:
    """The study that goes on, or None where one begins; and the experiment with its budget."""
    begun = (
        open_study(folder, storage=storage)
        if resume and (experiment is None or is_study(folder))
        else None
    )
    if begun is not None:
        if experiment is not None:
            _refuse_changes(begun, experiment)
        stays = experiment or begun.experiment
    elif experiment is None:
        raise InputError(
            "there is nothing to tune",
            remedy="give an experiment, or the folder of a study to resume",
        )
    else:
        _check_free(folder)
        stays = experiment
    if budget:
        settings = to_dict(stays.tune or Tune())
        stays = replace(
            stays,
            tune=build(
                Tune,
                settings | {key: value for key, value in budget.items() if value is not None},
                "[tune]",
            ),
        )
    return begun, stays


def _refuse_changes(begun: Study, experiment: Experiment) -> None:
    """Refuse to go on with a study under settings that it was not begun with; a budget is none."""
    if identity(experiment) != begun.meta["identity"]:
        before, now = (
            each.deciding | {"tune": searched(each)} for each in (begun.experiment, experiment)
        )
        cause = f"was begun with other settings{difference(before, now)}"
        raise InputError(
            cause,
            place=str(begun.folder),
            remedy="resume without changing them, or start a new study",
        )
    assert experiment.tune is not None
    assert begun.experiment.tune is not None
    added = [folder for folder in experiment.tune.warm if folder not in begun.experiment.tune.warm]
    if added:
        cause = f"'{added[0]}' is new, and warm is tried at the beginning of a study"
        raise InputError(
            cause, place=f"{begun.folder}: [tune] warm", remedy="leave it out, or start a new study"
        )


def _check_free(folder: Path) -> None:
    if folder.exists() and (
        not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())
    ):
        remedy = (
            f"choose another --out, or go on with it: recsys tune --resume {folder}"
            if is_study(folder)
            else "choose another --out"
        )
        raise InputError("exists already and is not empty", place=str(folder), remedy=remedy)


def _begin(
    experiment: Experiment,
    folder: Path,
    material: TrainValid,
    url: str | None,
    queue: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> Study:
    """Write the folder of a new study and make it known to its storage, or find it there when another machine has begun it."""
    if url is not None:
        open_url(url)  # nothing is written where it cannot be had
    write_atomic(
        folder / "config.toml", lambda path: path.write_text(experiment.to_toml(), encoding="utf-8")
    )
    meta: dict[str, Any] = {
        "format": FORMAT,
        "status": "running",
        "name": experiment.name,
        "method": experiment.method,
        "study": study_name(experiment),
        "identity": identity(experiment),
        "split": material.fingerprint,
        "id": uuid.uuid4().hex,
        "storage": without_password(url) if url else None,
        "objectives": list(objectives(experiment)),
        "queue": queue,
        "known": rows,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": _environment(),
    }
    if url is None:
        open_journal(folder / "study.journal")
    write_json(folder / "study.json", meta)
    return _known(Study(folder, meta, url))


def _again(study: Study, experiment: Experiment, material: TrainValid) -> Study:
    """Take a study up, with the budget of `experiment`."""
    if not material.matches(study.meta["split"]):
        raise InputError(
            "the data have changed since this study began",
            place=str(study.folder),
            remedy="restore the data, or start a new study",
        )
    for left in study.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
        left.unlink()
    if experiment != study.experiment:
        write_atomic(
            study.folder / "config.toml",
            lambda path: path.write_text(experiment.to_toml(), encoding="utf-8"),
        )
    study = open_study(study.folder, storage=study.url)
    return write_results(_known(study), status="running")


def _known(study: Study) -> Study:
    """The study with its entry in the storage, made or completed where a kill left it halfway."""
    with quiet():
        entry = optuna.create_study(
            study_name=study.meta["study"],
            storage=study.storage,
            directions=sides(directions(study.experiment)),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
    attrs = entry.user_attrs
    for key, value in (
        ("split", study.meta["split"]),
        ("queue", study.meta["queue"]),
        ("objectives", study.meta["objectives"]),
    ):
        if key not in attrs:
            entry.set_user_attr(key, value)
    if entry.user_attrs["split"] != study.meta["split"]:
        raise InputError(
            "a study of this name works on other data",
            place=study.meta["storage"] or str(study.folder),
            remedy="use the same data everywhere",
        )
    add_trials(entry, study.experiment, study.meta["known"])
    return study


def _queue(experiment: Experiment) -> list[dict[str, Any]]:
    """What is tried before the sampler is asked: the experiment's own settings, then those of earlier runs and studies, none twice."""
    assert experiment.tune is not None
    found = [("own", experiment)]
    found += [
        (f"warm: {folder}", _warm(Path(folder), experiment)) for folder in experiment.tune.warm
    ]
    queue: list[dict[str, Any]] = []
    for origin, each in found:
        tree = each.to_tree()
        settings = {
            dimension.path: _as_written(get(tree, dimension.path), dimension)
            for dimension in experiment.dimensions
        }
        if all(settings != entry["settings"] for entry in queue):
            queue.append({"origin": origin, "settings": settings})
    return queue


def _as_written(value: Any, dimension: Any) -> Any:
    """A value in the words of the space where it is one of its choices, and as plain JSON."""
    chosen = dimension.chosen(value) if dimension.range.choices is not None else None
    value = value if chosen is None else chosen
    return list(value) if isinstance(value, tuple) else value


def _warm(folder: Path, experiment: Experiment) -> Experiment:
    place = "[tune] warm"
    if is_study(folder):
        best = open_study(folder).best_experiment()
        if best is None:
            raise InputError(
                f"the study {folder} has no trial to begin with", place=place, remedy="leave it out"
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


def _forget(folder: Path) -> None:
    """Take back what a study wrote that failed before it had anything to keep, so that its folder is free for the next try."""
    if any(path.name not in ("config.toml", LOCK) for path in folder.glob("trials/*/*")):
        return
    for name in (
        "study.json",
        "study.journal",
        ".study.journal.lock",
        "config.toml",
        "trials.parquet",
        "best.toml",
        ".take.lock",
    ):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(folder.glob("trials/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with contextlib.suppress(FileNotFoundError):
        (folder / "trials").rmdir()


def _environment() -> dict[str, Any]:
    packages = {}
    for name in ("recsys", "torch", "numpy", "optuna"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": packages,
    }
