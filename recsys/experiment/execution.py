"""The run artefact: a folder that holds everything a result rests on and everything needed to use it.

config.toml          the resolved experiment
run.json             status, fingerprints of data and split, environment, best epoch, why training ended, times
users.parquet        outside ids by row          items.parquet   outside ids by row, with titles
seen.parquet         the interactions the shipped scorer learned from, as rows, with their labels where known
scorer.safetensors   what was measured and what ships
fit/                 checkpoint.safetensors, scorer.safetensors (the best so far), history.jsonl: the fit that selected
                     and denoiser.safetensors, what a denoiser knew of every pair at the end, where there was one
refit/               the same of the last fit on train + valid, where it was asked for
valid/, test/        report.json and per_user.parquet of each evaluation
openings.jsonl       each opening of the test set: when, and what for
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl
import torch

from recsys.config import difference, from_toml
from recsys.data.load import load
from recsys.data.splitting.splits import split as make_split
from recsys.data.types import Dataset, Interactions, Split, Vocab
from recsys.errors import InputError, first_line
from recsys.evaluation.evaluator import Report, evaluate
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.progress import DataLoaded, Evaluated, Event, RefitStarted, Watch
from recsys.files import (
    LOCK,
    exclusive,
    read_json,
    refuse_held,
    write_atomic,
    write_json,
)
from recsys.notebook import Shown, facts_html
from recsys.scorer import Scorer
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Fitted, fit
from recsys.training.progress import (
    EpochDone,
    EpochEntry,
    Resumed,
    append_entry,
    read_history,
    write_history,
)
from recsys.training.progress import Event as TrainingEvent
from recsys.training.stopping import Reason, Stopping, curve_of, stopping

__all__ = ["Run", "data_of", "execute", "open_run", "open_test"]

_FORMAT = 1  # of the folder; raised when an older reader would misread a newer folder
_DAMAGED = "the run is damaged: restore it, or run again"


@dataclass(frozen=True, eq=False, repr=False)
class Run(Shown):
    """A run's folder, opened for reading. Parts are read when they are asked for."""

    folder: Path
    meta: dict[str, Any]

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", self.name
        yield "", f"{self.meta.get('method')}"
        yield "", f"{self.meta.get('status')}"
        if "best_epoch" in self.meta:
            yield "epoch", self.meta["best_epoch"]
        yield "folder", self.folder

    def _repr_html_(self) -> str:
        found = facts_html("Run", self._facts())
        for part in ("valid", "test"):
            if (self.folder / part / "report.json").exists():
                found += self.report(part)._repr_html_()
        return found

    @cached_property
    def experiment(self) -> Experiment:
        """The resolved experiment."""
        path = self.folder / "config.toml"
        try:
            tree = from_toml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", place=str(path), remedy=_DAMAGED) from None
        return from_tree(tree, str(path))

    @cached_property
    def scorer(self) -> Scorer:
        """The shipped scorer."""
        scorer, _ = load_scorer(self.folder / "scorer.safetensors")
        if (scorer.n_users, scorer.n_items) != (self.train.n_users, self.train.n_items):
            raise InputError(
                "scorer and vocabulary differ in size",
                place=str(self.folder),
                remedy="files of two runs were mixed: restore or run again",
            )
        return scorer

    @cached_property
    def train(self) -> Dataset:
        """What the shipped scorer learned from, with the outside ids; enough to recommend without the raw data."""
        users, items = (
            _parquet(self.folder / f"{name}.parquet", "id") for name in ("users", "items")
        )
        seen = _parquet(self.folder / "seen.parquet", "user", "item")
        try:
            pairs = Interactions(
                seen["user"].to_numpy(), seen["item"].to_numpy(), len(users), len(items)
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"does not fit users.parquet and items.parquet: {error}",
                place=str(self.folder / "seen.parquet"),
                remedy=_DAMAGED,
            ) from None
        titles = items["title"] if "title" in items.columns else None
        return Dataset(pairs, Vocab(users["id"], "user"), Vocab(items["id"], "item"), titles=titles)

    @cached_property
    def history(self) -> list[EpochEntry]:
        """One entry per epoch."""
        return read_history(self.folder / "fit" / "history.jsonl")

    @cached_property
    def stopping(self) -> Stopping:
        """Why training ended and whether that was too early; of a run without a record of it, by its history."""
        known = self.meta.get("stopping")
        if isinstance(known, dict):
            try:
                return Stopping.from_plain(known)
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"has a run.json whose 'stopping' lacks {error}",
                    place=str(self.folder),
                    remedy=_DAMAGED,
                ) from None
        reason = self._reason()
        if reason == "closed form":
            return stopping((), reason, 0, 0)
        train, monitor = self.experiment.train, self.experiment.evaluate.monitor
        done = max((entry.epoch for entry in self.history), default=0)
        return stopping(curve_of(self.history, monitor, train.select), reason, done, train.epochs)

    def _reason(self) -> Reason:
        said = str(self.meta.get("stopped", ""))
        if self.meta.get("status") == "interrupted":
            return "interrupted"
        if self.meta.get("status") != "finished":
            return "kill"
        if said == "closed form":
            return "closed form"
        return "epochs" if said.startswith("all ") else "patience"

    def report(self, part: str = "test") -> Report:
        """The stored report of "valid" or "test"."""
        return Report.load(self.folder / part)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the shipped scorer's file."""
        return hashlib.sha256((self.folder / "scorer.safetensors").read_bytes()).hexdigest()

    @property
    def pairs_fingerprint(self) -> str:
        """SHA-256 of ids and pairs of the split: runs with the same can be compared, whatever they knew of the items."""
        split = self.meta.get("split", {})
        return str(
            split.get("pairs", split.get("fingerprint", ""))
        )  # earlier runs have one of the two, which is that of the pairs

    @property
    def encoders(self) -> dict[str, str]:
        """Id of what made the feature tables, by modality, where they said so."""
        return dict(self.meta.get("encoders", {}))

    @property
    def name(self) -> str:
        return str(self.meta.get("name", self.folder.name))


def open_run(folder: str | Path, *, finished: bool = True) -> Run:
    """Open a run's folder.

    Raises:
        InputError: it is none, is of a newer format, or was not finished.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        raise InputError(
            "is not the folder of a run: it has no run.json",
            place=str(folder),
            remedy="give the folder that `recsys run` printed",
        )
    meta = read_json(folder / "run.json")
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int):
        raise InputError(
            "has a run.json that is not of a run",
            place=str(folder),
            remedy="give the folder that `recsys run` printed",
        )
    if meta["format"] > _FORMAT:
        raise InputError(
            f"was written by a newer version (format {meta['format']})",
            place=str(folder),
            remedy="update recsys",
        )
    finished_too = meta.get("status") == "finished"
    for key, kind in {
        "status": str,
        "experiment": str,
        **({"split": dict} if finished_too else {}),
    }.items():
        if not isinstance(meta.get(key), kind):
            raise InputError(f"has a run.json without '{key}'", place=str(folder), remedy=_DAMAGED)
    if finished and meta.get("status") != "finished":
        run = Run(folder, meta)
        raise InputError(
            f"is not finished ({_how_far(run)})",
            place=str(folder),
            remedy=f"recsys run --resume {folder}",
        )
    return Run(folder, meta)


def _how_far(run: Run) -> str:
    """What is known of a run that is not finished."""
    try:
        return run.stopping.why
    except (InputError, ValueError, KeyError):  # killed before it had a configuration, or damaged
        return f"status: {run.meta['status']}"


def data_of(experiment: Experiment) -> Split:
    """Load and split the data of an experiment; the test part stays sealed."""
    return make_split(load(experiment.data), experiment.split)


def execute(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    split: Split | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train, evaluate and write the run. Killed at any moment and resumed, it ends with the same scorer and the same numbers.

    Args:
        experiment: what to do.
        folder: where; must be new or empty, unless `resume`.
        resume: go on with what is there.
        split: the data of the experiment, where the caller has loaded it already.
        watch: called with each event of `recsys.experiment.progress`.

    Raises:
        InputError: the folder is taken, another command works in it, the data have changed since the run began, and all that training can raise.
    """
    folder = Path(folder)
    busy = ("run", "wait for it" if resume else "wait for it, or choose another --out")
    refuse_held(folder, *busy)
    if _begin(experiment, folder, resume).get("status") == "finished":
        return open_run(folder)
    with exclusive(folder, *busy):
        return _carry_out(experiment, folder, resume, split, watch or (lambda _: None))


def _carry_out(
    experiment: Experiment,
    folder: Path,
    resume: bool,
    split: Split | None,
    tell: Watch,
) -> Run:
    """Do the run in a folder that nobody else works in."""
    meta = _begin(experiment, folder, resume)  # again, now that nobody else can change it
    if meta.get("status") == "finished":
        return open_run(folder)
    split = split or data_of(experiment)
    fresh = not (folder / "run.json").exists()
    started = time.perf_counter()
    try:
        if fresh:
            write_atomic(
                folder / "config.toml",
                lambda path: path.write_text(experiment.to_toml(), encoding="utf-8"),
            )
        _check_same_data(meta, split, folder)
        if fresh:
            write_json(folder / "run.json", meta)
        tell(DataLoaded(split))
        follow = tell if fresh else _recording(meta, folder, tell)
        fitted = _fit(experiment, split, folder / "fit", resume, follow)
    except KeyboardInterrupt:
        _interrupted(meta, folder)
        raise
    except Exception:
        if fresh:
            _forget(folder)
        raise
    reports: dict[str, Report] = {}
    if split.valid is not None and len(split.valid):
        reports["valid"] = _evaluated(
            fitted.scorer, split.train, split.valid, experiment, folder / "valid", None
        )
        tell(Evaluated("valid", reports["valid"]))
    train, shipped = split.train, fitted
    if experiment.refit and split.valid is not None:
        tell(RefitStarted(fitted.best_epoch))
        joined = split.refit()
        once = replace(
            experiment, train=replace(experiment.train, epochs=max(1, fitted.best_epoch))
        )
        shipped, train = _fit(once, joined, folder / "refit", resume, tell), joined.train
    save_scorer(folder / "scorer.safetensors", shipped.scorer, epoch=fitted.best_epoch)
    _write_vocabularies(folder, train)
    if split.test is not None and len(split.test):
        also = split.valid if train is split.train else None
        test = open_test(split, folder, "run: evaluation of the chosen scorer")
        reports["test"] = _evaluated(shipped.scorer, train, test, experiment, folder / "test", also)
        tell(Evaluated("test", reports["test"]))
    meta |= (
        {"encoders": found}
        if (
            found := {
                name: table.encoder for name, table in train.features.items() if table.encoder
            }
        )
        else {}
    )
    meta |= {
        "status": "finished",
        "best_epoch": fitted.best_epoch,
        "stopped": fitted.stopped,
        "stopping": fitted.stopping.plain(),
        "train_seconds": _train_seconds(fitted),
    }
    meta |= {
        "seconds": round(time.perf_counter() - started, 3),
        "finished": _now(),
        "parameters": _parameters(shipped.scorer),
    }
    write_json(folder / "run.json", meta)
    return open_run(folder)


def _begin(experiment: Experiment, folder: Path, resume: bool) -> dict[str, Any]:
    """The metadata to go on with: read when resuming, new otherwise. Nothing is written yet."""
    if resume and (folder / "run.json").exists():
        run = open_run(folder, finished=False)
        if run.meta["experiment"] != experiment.fingerprint:
            cause = f"was begun with other settings{difference(run.experiment.deciding, experiment.deciding)}"
            raise InputError(
                cause, place=str(folder), remedy="resume without changing them, or start a new run"
            )
        for left in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            left.unlink()
        if run.meta["status"] == "finished":
            return run.meta
        return {key: value for key, value in run.meta.items() if key != "stopping"} | {
            "status": "running"
        }
    if folder.exists() and (
        not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())
    ):
        begun = (folder / "run.json").exists()
        remedy = (
            f"choose another --out, or go on with it: recsys run --resume {folder}"
            if begun
            else "choose another --out"
        )
        raise InputError("exists already and is not empty", place=str(folder), remedy=remedy)
    return {
        "format": _FORMAT,
        "status": "running",
        "name": experiment.name,
        "method": experiment.method,
        "experiment": experiment.fingerprint,
        "started": _now(),
        "environment": _environment(),
    }


def _interrupted(meta: dict[str, Any], folder: Path) -> None:
    """Put on record that a run was stopped by hand, where it has begun; a kill leaves its history to tell."""
    if (folder / "run.json").exists():
        run = Run(folder, {**meta, "status": "interrupted"})
        write_json(folder / "run.json", {**run.meta, "stopping": run.stopping.plain()})


def _forget(folder: Path) -> None:
    """Take back what a run wrote that failed before it had anything to keep, so that its folder is free for the next try."""
    fit_folder = folder / "fit"
    if fit_folder.is_dir() and any(fit_folder.iterdir()):
        return
    with contextlib.suppress(OSError):
        for name in ("config.toml", "run.json"):
            (folder / name).unlink(missing_ok=True)
        if fit_folder.is_dir():
            fit_folder.rmdir()


def _check_same_data(meta: dict[str, Any], split: Split, folder: Path) -> None:
    found = {
        "fingerprint": split.fingerprint,
        "pairs": split.pairs_fingerprint,
        "rule": split.rule,
        "users": split.train.n_users,
        "items": split.train.n_items,
        "train": len(split.train.pairs),
        "valid": 0 if split.valid is None else len(split.valid),
        "test": 0 if split.test is None else len(split.test),
        "history": list(split.train.history),
        "findings": [finding.message for finding in split.train.findings],
    }
    before = meta.setdefault("split", found)
    if not split.matches(before["fingerprint"]):
        raise InputError(
            "the data have changed since this run began",
            place=str(folder),
            remedy="restore the data, or start a new run",
        )


def _recording(meta: dict[str, Any], folder: Path, tell: Watch) -> Watch:
    """Record that a run goes on once its training has, so that a checkpoint that cannot be read changes nothing."""
    recorded = False

    def follow(event: Event) -> None:
        nonlocal recorded
        if not recorded:
            write_json(folder / "run.json", meta)
            recorded = True
        tell(event)

    return follow


def _fit(
    experiment: Experiment,
    split: Split,
    folder: Path,
    resume: bool,
    tell: Watch,
) -> Fitted:
    history = folder / "history.jsonl"
    begun = False

    def follow(event: TrainingEvent) -> None:
        nonlocal begun
        if isinstance(event, Resumed):
            write_history(history, event.history)
        elif not begun:  # what an earlier try left is dropped once this one has something to say
            history.unlink(missing_ok=True)
        begun = True
        if isinstance(event, EpochDone):
            append_entry(history, event.entry)
        tell(event)

    folder.mkdir(parents=True, exist_ok=True)
    fitted = fit(
        experiment.model,
        split.train,
        split.valid,
        experiment.train,
        experiment.evaluate,
        folder=folder,
        resume=resume,
        watch=follow,
    )
    write_history(history, fitted.history)
    return fitted


def _evaluated(
    scorer: Scorer,
    train: Dataset,
    pairs: Interactions,
    experiment: Experiment,
    folder: Path,
    also: Interactions | None,
) -> Report:
    report = evaluate(scorer, train.pairs, pairs, experiment.evaluate, also_seen=also)
    report.save(folder)
    return report


def open_test(split: Split, folder: Path, reason: str) -> Interactions:
    """Open the sealed test set and put it on record before anything is read from it."""
    assert split.test is not None
    _append(
        folder / "openings.jsonl",
        {"time": _now(), "reason": reason, "process": os.getpid(), "test": split.test.fingerprint},
    )
    return split.test.open(reason)


def _write_vocabularies(folder: Path, train: Dataset) -> None:
    items = pl.DataFrame({"id": train.items.ids})
    if train.titles is not None:
        items = items.with_columns(train.titles.alias("title"))
    seen = pl.DataFrame({"user": train.pairs.user, "item": train.pairs.item})
    if train.pairs.label is not None:
        seen = seen.with_columns(label=train.pairs.label)
    for name, frame in (
        ("users", pl.DataFrame({"id": train.users.ids})),
        ("items", items),
        ("seen", seen),
    ):
        write_atomic(folder / f"{name}.parquet", partial(frame.write_parquet, compression="zstd"))


def _train_seconds(fitted: Fitted) -> float:
    return round(sum(entry.seconds for entry in fitted.history), 3)


def _parameters(scorer: Scorer) -> int:
    return sum(tensor.numel() for tensor in scorer.state()[0].values())


def _environment() -> dict[str, Any]:
    packages = {}
    for name in (
        "recsys",
        "torch",
        "numpy",
        "scipy",
        "polars",
        "pandas",
        "torch-geometric",
        "optuna",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "packages": packages,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")


def _parquet(path: Path, *columns: str) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}", place=str(path), remedy=_DAMAGED
        ) from None
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"has no column '{column}'", place=str(path), remedy=_DAMAGED)
    return frame
