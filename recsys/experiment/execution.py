"""Carry out an experiment: train, evaluate, and write the folder of the run."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from recsys.config import difference
from recsys.data.load import load
from recsys.data.splitting.splits import split as make_split
from recsys.data.types import Dataset, HeldOut, Interactions, Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import evaluate
from recsys.experiment.environment import current_environment, now
from recsys.experiment.experiment import Experiment
from recsys.experiment.progress import DataLoaded, Evaluated, Event, RefitStarted, Watch
from recsys.experiment.run import Run, open_run
from recsys.experiment.run_meta import FORMAT, RunMeta, SplitSummary
from recsys.files import (
    LOCK,
    exclusive,
    refuse_held,
    remove_leftovers,
    write_atomic,
    write_json,
    write_text,
)
from recsys.ranking.rerank import resolve
from recsys.scorer import Scorer
from recsys.tensors import save_scorer
from recsys.training import progress as training
from recsys.training.loop import Fitted, fit
from recsys.training.progress import EpochDone, Resumed, append_entry, ignore, write_history

__all__ = ["Run", "data_of", "execute", "open_run", "open_test"]


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
    """Train, evaluate and write the folder of the run.

    A run that is killed at any moment and resumed ends with the same scorer and the same numbers.

    Args:
        experiment: what to do.
        folder: where to write; must be new or empty, unless `resume`.
        resume: continue the run in the folder, if there is one.
        split: the data of the experiment, if the caller has loaded them already.
        watch: called with each event of `recsys.experiment.progress`.

    Raises:
        InputError: the folder is not empty, another command works in it, the data have changed
            since the run began; and all errors of training.
    """
    folder = Path(folder)
    busy = ("run", "wait for it" if resume else "wait for it, or choose another --out")
    refuse_held(folder, *busy)
    if _begin(experiment, folder, resume).status == "finished":
        return open_run(folder)
    with exclusive(folder, *busy):
        # The folder may have changed before this command held its lock.
        meta = _begin(experiment, folder, resume)
        if meta.status == "finished":
            return open_run(folder)
        return _Execution(experiment, folder, meta, resume, watch or ignore).run(split)


def open_test(split: Split, folder: Path, reason: str) -> HeldOut:
    """Open the sealed test part, after the opening was recorded in the folder."""
    assert split.test is not None
    entry = {
        "time": now(),
        "reason": reason,
        "process": os.getpid(),
        "test": split.test.fingerprint,
    }
    with (folder / "openings.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")
    return split.test.open(reason)


def _begin(experiment: Experiment, folder: Path, resume: bool) -> RunMeta:
    """Return the metadata to start with: those of the run to resume, or new ones.

    Nothing is written.

    Raises:
        InputError: the folder cannot be used.
    """
    if resume and (folder / "run.json").exists():
        return _resumed(experiment, folder)
    is_free = not folder.exists() or (
        folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())
    )
    if not is_free:
        remedy = "choose another --out"
        if (folder / "run.json").exists():
            remedy += f", or go on with it: recsys run --resume {folder}"
        raise InputError("already exists and is not empty", place=str(folder), remedy=remedy)
    return RunMeta(
        format=FORMAT,
        status="running",
        name=experiment.name,
        method=experiment.method,
        experiment=experiment.fingerprint,
        started=now(),
        environment=current_environment(),
    )


def _resumed(experiment: Experiment, folder: Path) -> RunMeta:
    """Return the metadata of a run to resume.

    Raises:
        InputError: it was begun with other settings.
    """
    run = open_run(folder, finished=False)
    if run.meta.experiment != experiment.fingerprint:
        change = difference(run.experiment.deciding, experiment.deciding)
        raise InputError(
            f"was begun with other settings{change}",
            place=str(folder),
            remedy="resume without changing them, or start a new run",
        )
    remove_leftovers(folder)
    if run.meta.status == "finished":
        return run.meta
    return replace(run.meta, status="running", stopping=None)


class _Execution:
    """One run in a folder that no other command works in.

    Args:
        experiment: what to do.
        folder: where to write.
        meta: the metadata to start with.
        resume: whether training continues from its checkpoint.
        watch: called with each progress event.
    """

    def __init__(
        self, experiment: Experiment, folder: Path, meta: RunMeta, resume: bool, watch: Watch
    ) -> None:
        self.experiment = experiment
        self.folder = folder
        self.meta = meta
        self.resume = resume
        self.watch = watch
        self.is_new = not (folder / "run.json").exists()

    def run(self, split: Split | None) -> Run:
        """Do the run and return it, opened for reading."""
        split = split or data_of(self.experiment)
        started = time.perf_counter()
        fitted = self._select(split)
        if split.valid is not None and len(split.valid):
            self._evaluate("valid", fitted.scorer, split.train, split.valid)
        shipped, train = fitted, split.train
        if self.experiment.refit and split.valid is not None:
            shipped, train = self._refit(split, fitted.best_epoch)
        save_scorer(self.folder / "scorer.safetensors", shipped.scorer, epoch=fitted.best_epoch)
        _write_vocabularies(self.folder, train)
        if split.test is not None and len(split.test):
            test = open_test(split, self.folder, "run: evaluation of the chosen scorer")
            valid = split.valid if train is split.train else None
            also_seen = None if valid is None else valid.pairs
            self._evaluate("test", shipped.scorer, train, test, also_seen)
        encoders = {name: table.encoder for name, table in train.features.items() if table.encoder}
        self.meta = replace(
            self.meta,
            encoders=encoders or None,
            status="finished",
            best_epoch=fitted.best_epoch,
            stopped=fitted.stopped,
            stopping=fitted.stopping,
            notes=shipped.notes or None,
            train_seconds=round(sum(entry.seconds for entry in fitted.history), 3),
            seconds=round(time.perf_counter() - started, 3),
            finished=now(),
            parameters=sum(tensor.numel() for tensor in shipped.scorer.state()[0].values()),
        )
        self._write_meta()
        return open_run(self.folder)

    def _select(self, split: Split) -> Fitted:
        """Do the training that chooses the epoch, and record the run as begun.

        A new run that fails before it has anything to keep leaves its folder free.
        """
        try:
            if self.is_new:
                write_text(self.folder / "config.toml", self.experiment.to_toml())
            self._check_data(split)
            resolve(self.experiment.rerank, None, split.train)  # before training
            if self.is_new:
                self._write_meta()
            self.watch(DataLoaded(split))
            watch = self.watch if self.is_new else self._recording()
            return self._fit(self.experiment, split, "fit", watch)
        except KeyboardInterrupt:
            self._record_interruption()
            raise
        except Exception:
            if self.is_new:
                _forget(self.folder)
            raise

    def _refit(self, split: Split, best_epoch: int) -> tuple[Fitted, Dataset]:
        """Train once more, on train and valid together, for as many epochs as were best.

        Returns:
            The result, and the interactions that it was trained on.
        """
        self.watch(RefitStarted(best_epoch))
        joined = split.refit()
        train = replace(self.experiment.train, epochs=max(1, best_epoch))
        fitted = self._fit(replace(self.experiment, train=train), joined, "refit", self.watch)
        return fitted, joined.train

    def _fit(self, experiment: Experiment, split: Split, name: str, watch: Watch) -> Fitted:
        """Train in a folder below that of the run, and keep the history there."""
        folder = self.folder / name
        history = folder / "history.jsonl"
        has_begun = False

        def follow(event: training.Event) -> None:
            nonlocal has_begun
            if isinstance(event, Resumed):
                write_history(history, event.history)
            elif not has_begun:  # the history of an earlier attempt is not continued
                history.unlink(missing_ok=True)
            has_begun = True
            if isinstance(event, EpochDone):
                append_entry(history, event.entry)
            watch(event)

        folder.mkdir(parents=True, exist_ok=True)
        fitted = fit(
            experiment.model,
            split.train,
            split.valid,
            experiment.train,
            experiment.evaluate,
            folder=folder,
            resume=self.resume,
            watch=follow,
            asks=frozenset() if split.test is None else split.test.kinds,
        )
        write_history(history, fitted.history)
        return fitted

    def _evaluate(
        self,
        part: Literal["valid", "test"],
        scorer: Scorer,
        train: Dataset,
        held_out: HeldOut,
        also_seen: Interactions | None = None,
    ) -> None:
        """Evaluate a scorer on one part of the split, and write the report."""
        report = evaluate(
            scorer,
            train.pairs,
            held_out,
            self.experiment.evaluate,
            also_seen=also_seen,
            rerank=resolve(self.experiment.rerank, scorer, train),
        )
        report.save(self.folder / part)
        self.watch(Evaluated(part, report))

    def _check_data(self, split: Split) -> None:
        """Record the data of a new run.

        Raises:
            InputError: the data of a resumed run have changed.
        """
        if self.meta.split is None:
            self.meta = replace(self.meta, split=SplitSummary.of(split))
        elif not split.matches(self.meta.split.fingerprint):
            raise InputError(
                "the data have changed since this run began",
                place=str(self.folder),
                remedy="restore the data, or start a new run",
            )

    def _recording(self) -> Watch:
        """Return a watch that records at the first event that the run continues.

        It waits for the event, so that a checkpoint that cannot be read changes nothing.
        """
        is_recorded = False

        def follow(event: Event) -> None:
            nonlocal is_recorded
            if not is_recorded:
                self._write_meta()
                is_recorded = True
            self.watch(event)

        return follow

    def _record_interruption(self) -> None:
        """Record that the user stopped a run that had begun; a kill leaves only the history."""
        if (self.folder / "run.json").exists():
            run = Run(self.folder, replace(self.meta, status="interrupted"))
            self.meta = replace(run.meta, stopping=run.stopping)
            self._write_meta()

    def _write_meta(self) -> None:
        write_json(self.folder / "run.json", self.meta.to_json())


def _forget(folder: Path) -> None:
    """Remove the files of a run that failed before it had anything to keep."""
    fit_folder = folder / "fit"
    if fit_folder.is_dir() and any(fit_folder.iterdir()):
        return
    with contextlib.suppress(OSError):
        for name in ("config.toml", "run.json"):
            (folder / name).unlink(missing_ok=True)
        if fit_folder.is_dir():
            fit_folder.rmdir()


def _write_vocabularies(folder: Path, train: Dataset) -> None:
    """Write the ids of users and items, and the training interactions."""
    items = pl.DataFrame({"id": train.items.ids})
    if train.titles is not None:
        items = items.with_columns(train.titles.alias("title"))
    seen = pl.DataFrame({"user": train.pairs.user, "item": train.pairs.item})
    if train.pairs.clean is not None:
        # Called as in the files of earlier versions.
        seen = seen.with_columns(label=train.pairs.clean)
    frames = {"users": pl.DataFrame({"id": train.users.ids}), "items": items, "seen": seen}
    for name, frame in frames.items():
        write_atomic(folder / f"{name}.parquet", partial(frame.write_parquet, compression="zstd"))
