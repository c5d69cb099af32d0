"""The folder of a run, opened for reading. It holds all that a result rests on.

config.toml          the resolved experiment
run.json             status, fingerprints of data and split, environment, best epoch, times
users.parquet        user ids by row
items.parquet        item ids by row, with titles
seen.parquet         the training interactions of the shipped scorer, as rows, with labels if known
scorer.safetensors   the scorer that was evaluated and that is shipped
fit/                 the training that chose the epoch: checkpoint.safetensors, scorer.safetensors
                     (the best so far), history.jsonl and, with a denoiser, denoiser.safetensors
                     (what it knew about each interaction at the end)
refit/               the same for the last training on train + valid, if it was asked for
valid/, test/        report.json and per_user.parquet of each evaluation
openings.jsonl       each opening of the test set: when and why
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from recsys.config import from_toml
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError, first_line
from recsys.evaluation.evaluator import Report
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.run_meta import DAMAGED, RunMeta, SplitSummary
from recsys.files import sha256_of
from recsys.notebook import Shown, facts_html
from recsys.scorer import Scorer
from recsys.tensors import load_scorer
from recsys.training.progress import EpochEntry, read_history
from recsys.training.stopping import Reason, Stopping, curve_of, stopping

__all__ = ["Opening", "Run", "open_run"]


@dataclass(frozen=True)
class Opening:
    """One opening of the test set.

    Args:
        time: when, ISO 8601 in UTC.
        reason: what for.
    """

    time: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Run(Shown):
    """The folder of a run. Its parts are read when they are first used.

    Args:
        folder: the folder.
        meta: the content of `run.json`.
    """

    folder: Path
    meta: RunMeta

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", self.name
        yield "", f"{self.meta.method}"
        yield "", self.meta.status
        if self.meta.best_epoch is not None:
            yield "epoch", self.meta.best_epoch
        yield "folder", self.folder

    def _repr_html_(self) -> str:
        html = facts_html("Run", self._facts())
        for part in ("valid", "test"):
            if self.has_report(part):
                html += self.report(part)._repr_html_()
        return html

    @cached_property
    def experiment(self) -> Experiment:
        """The resolved experiment."""
        path = self.folder / "config.toml"
        try:
            tree = from_toml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", place=str(path), remedy=DAMAGED) from None
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
        """The training interactions of the shipped scorer, with the user and item ids.

        They suffice to recommend without the raw data.
        """
        users = _parquet(self.folder / "users.parquet", "id")
        items = _parquet(self.folder / "items.parquet", "id")
        seen = _parquet(self.folder / "seen.parquet", "user", "item")
        try:
            pairs = Interactions(
                seen["user"].to_numpy(), seen["item"].to_numpy(), len(users), len(items)
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"does not fit users.parquet and items.parquet: {error}",
                place=str(self.folder / "seen.parquet"),
                remedy=DAMAGED,
            ) from None
        titles = items["title"] if "title" in items.columns else None
        return Dataset(pairs, Vocab(users["id"], "user"), Vocab(items["id"], "item"), titles=titles)

    @cached_property
    def history(self) -> list[EpochEntry]:
        """One entry per epoch of the training that chose the epoch."""
        return read_history(self.folder / "fit" / "history.jsonl")

    @property
    def split(self) -> SplitSummary:
        """The data of the run, as split.

        Raises:
            InputError: the run ended before its data were loaded.
        """
        if self.meta.split is None:
            raise InputError(
                "has a run.json without 'split'", place=str(self.folder), remedy=DAMAGED
            )
        return self.meta.split

    @cached_property
    def stopping(self) -> Stopping:
        """Why training ended, and whether that was too early; from the history if not recorded."""
        if self.meta.stopping is not None:
            return self.meta.stopping
        reason = self._reason()
        if reason == "closed form":
            return stopping((), reason, 0, 0)
        train, monitor = self.experiment.train, self.experiment.evaluate.monitor
        done = max((entry.epoch for entry in self.history), default=0)
        return stopping(curve_of(self.history, monitor, train.select), reason, done, train.epochs)

    def _reason(self) -> Reason:
        if self.meta.status == "interrupted":
            return "interrupted"
        if self.meta.status == "running":
            return "kill"
        stopped = self.meta.stopped or ""
        if stopped == "closed form":
            return "closed form"
        return "epochs" if stopped.startswith("all ") else "patience"

    def has_report(self, part: str) -> bool:
        """Return whether the report of "valid" or "test" is stored."""
        return (self.folder / part / "report.json").exists()

    def report(self, part: str = "test") -> Report:
        """Return the stored report of "valid" or "test"."""
        return Report.load(self.folder / part)

    def openings(self) -> list[Opening]:
        """Return the recorded openings of the test set, in order.

        Raises:
            InputError: the record is damaged.
        """
        path = self.folder / "openings.jsonl"
        if not path.exists():
            return []
        openings = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                openings.append(Opening(str(entry["time"]), str(entry["reason"])))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"is not the record of an opening: {first_line(error)}",
                    place=f"{path}:{number}",
                    remedy=DAMAGED,
                ) from None
        return openings

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the shipped scorer's file."""
        return sha256_of(self.folder / "scorer.safetensors")

    @property
    def pairs_fingerprint(self) -> str:
        """Hash of the ids and interactions of the split.

        Runs with the same hash can be compared, even if they used different item features. Early
        runs stored one hash only, which is this one.
        """
        split = self.meta.split
        return "" if split is None else split.pairs or split.fingerprint

    @property
    def encoders(self) -> dict[str, str]:
        """Id of the encoder that made a feature table, by modality, if it was recorded."""
        return dict(self.meta.encoders or {})

    @property
    def name(self) -> str:
        """Name of the experiment, or of the folder."""
        return self.folder.name if self.meta.name is None else self.meta.name


def open_run(folder: str | Path, *, finished: bool = True) -> Run:
    """Open the folder of a run.

    Args:
        folder: the folder.
        finished: refuse a run that is not finished.

    Raises:
        InputError: it is not the folder of a run, is damaged, is of a newer version, or is not
            finished.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        raise InputError(
            "is not the folder of a run: it has no run.json",
            place=str(folder),
            remedy="give the folder that `recsys run` printed",
        )
    run = Run(folder, RunMeta.read(folder))
    if finished and run.meta.status != "finished":
        raise InputError(
            f"is not finished ({_how_far(run)})",
            place=str(folder),
            remedy=f"recsys run --resume {folder}",
        )
    return run


def _how_far(run: Run) -> str:
    """Return what is known about a run that is not finished."""
    try:
        return run.stopping.why
    except InputError:  # it was killed before its configuration was written, or is damaged
        return f"status: {run.meta.status}"


def _parquet(path: Path, *columns: str) -> pl.DataFrame:
    """Read a table that must have these columns."""
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}", place=str(path), remedy=DAMAGED
        ) from None
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"has no column '{column}'", place=str(path), remedy=DAMAGED)
    return frame
