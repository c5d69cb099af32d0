"""The content of `run.json`, as typed values.

The file is read strictly, by the function that reads TOML. A damaged file is an error when the run
is opened, and the error names the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from recsys.config import build, settings
from recsys.data.types import Split
from recsys.errors import InputError, first_line
from recsys.files import read_json
from recsys.training.stopping import Stopping

__all__ = ["DAMAGED", "FORMAT", "Environment", "RunMeta", "SplitSummary"]

FORMAT = 1
"""Version of a run's folder; it is raised when an older reader would misread a newer folder."""
DAMAGED = "the run is damaged: restore it, or run again"

_FOREIGN = "give the folder that `recsys run` printed"
# Every version wrote these keys; a finished run has the split too.
_ALWAYS = {"status": str, "experiment": str}
_FINISHED: dict[str, type] = {**_ALWAYS, "split": dict}


@settings
class Environment:
    """Where a run was carried out. All values are None or empty if they were not recorded."""

    python: str | None = None
    """Version of Python."""
    system: str | None = None
    """Operating system, with its version."""
    cpus: int | None = None
    """Number of CPU cores."""
    threads: int | None = None
    """Number of threads that torch used."""
    gpu: str | None = None
    """Name of the GPU; None without a GPU."""
    packages: Mapping[str, str] | None = None
    """Installed version of each package."""


@settings
class SplitSummary:
    """The data of a run, as split."""

    fingerprint: str
    """Hash of the interactions and the item features."""
    pairs: str | None = None
    """Hash of ids and interactions only; None in early runs, whose `fingerprint` is that hash."""
    rule: str = ""
    """The split rule in words."""
    users: int = 0
    items: int = 0
    train: int = 0
    """Number of training interactions; `valid` and `test` likewise."""
    valid: int = 0
    test: int = 0
    history: tuple[str, ...] = ()
    """What was done to the raw data, one line per step."""
    findings: tuple[str, ...] = ()
    """What looked wrong in the data."""

    @classmethod
    def of(cls, split: Split) -> SplitSummary:
        """Return the summary of a split; the test part stays sealed."""
        return cls(
            fingerprint=split.fingerprint,
            pairs=split.pairs_fingerprint,
            rule=split.rule,
            users=split.train.n_users,
            items=split.train.n_items,
            train=len(split.train.pairs),
            valid=0 if split.valid is None else len(split.valid),
            test=0 if split.test is None else len(split.test),
            history=tuple(split.train.history),
            findings=tuple(finding.message for finding in split.train.findings),
        )


@settings
class RunMeta:
    """What `run.json` holds. What is not known yet, or was not recorded, is None."""

    format: int
    """Version of the folder."""
    status: Literal["running", "interrupted", "finished"]
    """A run that was killed stays "running"."""
    name: str | None = None
    method: str | None = None
    experiment: str
    """Fingerprint of the settings."""
    started: str | None = None
    """Time of the start, ISO 8601 in UTC."""
    environment: Environment = Environment()
    split: SplitSummary | None = None
    """None only in a run that ended before its data were loaded."""
    encoders: Mapping[str, str] | None = None
    """Id of the encoder that made a feature table, by modality."""
    best_epoch: int | None = None
    stopped: str | None = None
    """Why training ended, in words."""
    stopping: Stopping | None = None
    """Why training ended; None in early runs, whose history shows it."""
    notes: tuple[str, ...] | None = None
    """What the reader of the numbers must know, such as interactions that were not trained on."""
    train_seconds: float | None = None
    """Seconds of training, without evaluation."""
    seconds: float | None = None
    """Seconds of the whole run; for a resumed run, since it was resumed."""
    finished: str | None = None
    """Time of the end, ISO 8601 in UTC."""
    parameters: int | None = None
    """Number of values in the shipped scorer."""

    def to_json(self) -> dict[str, Any]:
        """Return the plain values for `run.json`, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["environment"] = _plain(self.environment)
        values["split"] = None if self.split is None else _plain(self.split)
        values["stopping"] = None if self.stopping is None else self.stopping.plain()
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def read(cls, folder: Path) -> RunMeta:
        """Read the `run.json` of a folder.

        Raises:
            InputError: the file is damaged, of another program or of a newer version.
        """
        values = read_json(folder / "run.json")
        if not isinstance(values, dict) or not isinstance(values.get("format"), int):
            raise InputError(
                "has a run.json that is not of a run", place=str(folder), remedy=_FOREIGN
            )
        if values["format"] > FORMAT:
            raise InputError(
                f"was written by a newer version (format {values['format']})",
                place=str(folder),
                remedy="update recsys",
            )
        required = _FINISHED if values.get("status") == "finished" else _ALWAYS
        for key, kind in required.items():
            if not isinstance(values.get(key), kind):
                raise InputError(
                    f"has a run.json without '{key}'", place=str(folder), remedy=DAMAGED
                )
        try:
            return build(cls, _with_stopping(values))
        except InputError as error:
            place = f"{folder / 'run.json'}: {error.place}" if error.place else folder / "run.json"
            raise InputError(error.cause, place=str(place), remedy=DAMAGED) from None


def _with_stopping(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `run.json` with the record of the end as a value.

    Raises:
        InputError: the record lacks a key.
    """
    record = values.get("stopping")
    if record is None:
        return values
    try:
        return {**values, "stopping": Stopping.from_plain(record)}
    except (KeyError, TypeError) as error:
        raise InputError(f"'stopping' is damaged: {first_line(error)}") from None


def _plain(value: Environment | SplitSummary) -> dict[str, Any]:
    """Return plain values; only a GPU that is not there is written as null."""
    plain = {field.name: getattr(value, field.name) for field in fields(value)}
    return {key: item for key, item in plain.items() if item is not None or key == "gpu"}
