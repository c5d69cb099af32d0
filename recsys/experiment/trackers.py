"""Logging of a run to a tracker: TensorBoard, MLflow or Weights & Biases.

    recsys run cml.toml --track tensorboard:runs/tb --track mlflow:http://host:5000
    recsys run cml.toml --track wandb:project

A tracker receives what the files of the run hold: the settings, the numbers of each epoch, and
those of the chosen scorer. Each tracker has a thread of its own, so training waits for no server,
and a tracker that fails or hangs costs one warning. A run that is resumed is logged from its first
epoch on.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import InputError, first_line, suggest
from recsys.experiment.experiment import Experiment
from recsys.experiment.progress import (
    EpochDone,
    Evaluated,
    Event,
    RefitStarted,
    Resumed,
    Watch,
)
from recsys.training.progress import EpochEntry

__all__ = ["numbers", "tracked"]

Entries = Iterable[tuple[dict[str, float], int]]
"""Values by name, and the epoch they belong to."""

# Seconds that the end of a run waits for a tracker that has not received everything yet.
_PATIENCE = 30.0


@contextlib.contextmanager
def tracked(
    targets: Sequence[str], experiment: Experiment, name: str, warn: Callable[[str], None]
) -> Iterator[Watch]:
    """Open trackers for one run.

    Args:
        targets: "tensorboard:DIR", "mlflow:URI" (a server or "sqlite:///FILE"; empty: the place
            that MLflow is configured for) or "wandb:PROJECT".
        experiment: its settings are logged.
        name: name of the run.
        warn: called with one line if a tracker fails, once for each tracker.

    Yields:
        A watch for `recsys.experiment.execution.execute`.

    Raises:
        InputError: a target that is not valid, or whose package is not installed.
    """
    lines = [_Line(target, experiment, name, warn) for target in targets]
    for line in lines:
        line.thread.start()
    end: _RunFailed | None = _RunFailed()
    try:
        yield _Log(lines).watch
        end = None
    finally:
        for line in lines:
            line.waiting.put(end)
        for line in lines:
            line.end()


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the finite numbers of an epoch's values.

    Args:
        values: plain values; those of a table are returned as `table/name`.
        prefix: put before each name.
    """
    finite: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            finite |= numbers(value, f"{prefix}{key}/")
        elif (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ):
            finite[prefix + key] = float(value)
    return finite


class _Log:
    """Turns the events of a run into values by name.

    Args:
        lines: where the values go.
    """

    def __init__(self, lines: Sequence[_Line]) -> None:
        self.lines = lines
        self.prefix = ""
        self.epoch = 0

    def watch(self, event: Event) -> None:
        """Log the values of an event."""
        match event:
            case RefitStarted():
                self.prefix = "refit/"
            case Evaluated(part, report):
                self.prefix = ""
                metrics = {metric: report[metric] for metric in report.names}
                self._send({f"final/{part}": metrics})
            case Resumed():
                for entry in event.history:
                    self._send_epoch(entry)
            case EpochDone():
                self._send_epoch(event.entry)

    def _send_epoch(self, entry: EpochEntry) -> None:
        self.epoch = entry.epoch
        values = entry.to_json()
        del values["epoch"]
        self._send(values)

    def _send(self, values: Mapping[str, Any]) -> None:
        named = {self.prefix + key: value for key, value in numbers(values).items()}
        for line in self.lines:
            line.waiting.put((named, self.epoch))


class _RunFailed(Exception):
    """The run has ended with an error. The thread of a tracker gets it instead of an entry."""


class _Line:
    """A queue to one tracker, and the thread that empties it."""

    def __init__(
        self, target: str, experiment: Experiment, name: str, warn: Callable[[str], None]
    ) -> None:
        kind, _, where = target.partition(":")
        tracker = _checked(kind, where, target)
        self.kind = kind
        self.warn = warn
        self.waiting: queue.SimpleQueue[tuple[dict[str, float], int] | _RunFailed | None] = (
            queue.SimpleQueue()
        )
        self.thread = threading.Thread(
            target=self._run,
            args=(tracker.follow, where, name, experiment),
            name=f"tracker {kind}",
            daemon=True,
        )

    def end(self) -> None:
        """Wait until the tracker has received everything, but not for long."""
        self.thread.join(_PATIENCE)
        if self.thread.is_alive():
            self.warn(
                f"{self.kind} has not taken everything within {_PATIENCE:g} s; "
                "the run is complete without it"
            )

    def _run(self, follow: _Follow, where: str, name: str, experiment: Experiment) -> None:
        try:
            follow(where, name, experiment, self._entries())
        except _RunFailed:
            pass
        except Exception as error:  # a library or a server may raise anything
            self.warn(
                f"{self.kind} has failed and gets no more of this run: "
                f"{type(error).__name__}: {first_line(error)}"
            )

    def _entries(self) -> Iterator[tuple[dict[str, float], int]]:
        while (entry := self.waiting.get()) is not None:
            if isinstance(entry, _RunFailed):
                raise entry
            yield entry


def _tensorboard(where: str, name: str, experiment: Experiment, entries: Entries) -> None:
    from torch.utils.tensorboard import SummaryWriter

    # Two runs of one name have different folders. A resumed run is logged from its first epoch
    # on, so what the interrupted session logged is dropped.
    folder = Path(where) / f"{name}-{experiment.fingerprint[:8]}"
    with SummaryWriter(str(folder), purge_step=0) as writer:
        writer.add_text("settings", f"```\n{experiment.to_toml()}\n```", 0)
        for values, step in entries:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()


def _mlflow(where: str, name: str, experiment: Experiment, entries: Entries) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=where or None)
    known = client.get_experiment_by_name("recsys")
    group = known.experiment_id if known else client.create_experiment("recsys")
    run = client.create_run(group, run_name=name).info.run_id
    status = "FAILED"
    try:
        params = [Param(key, str(value)) for key, value in _flat(experiment.to_tree()).items()]
        for start in range(0, len(params), 100):  # MLflow takes 100 at once
            client.log_batch(run, params=params[start : start + 100])
        for values, step in entries:
            now = int(time.time() * 1000)
            # Names may hold letters, digits and a few signs. ndcg@20 becomes ndcg_at_20, like the
            # names of MLflow's own metrics.
            named = {
                re.sub(r"[^\w./ -]", "_", key.replace("@", "_at_")): value
                for key, value in values.items()
            }
            client.log_batch(
                run, metrics=[Metric(key, value, now, step) for key, value in named.items()]
            )
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)


def _wandb(where: str, name: str, experiment: Experiment, entries: Entries) -> None:
    import wandb

    with wandb.init(project=where, name=name, config=experiment.to_tree()) as run:
        # The steps of wandb may not go back, as the epochs of a refit do.
        run.define_metric("*", step_metric="epoch")
        for values, step in entries:
            run.log({**values, "epoch": step})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted path."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


_Follow = Callable[[str, str, Experiment, Entries], None]


@dataclass(frozen=True)
class _Tracker:
    """A kind of tracker.

    Args:
        follow: logs the entries of a run.
        package: the package that it needs.
        where: what follows the colon of a target; "" if nothing has to follow.
    """

    follow: _Follow
    package: str
    where: str


_TRACKERS = {
    "tensorboard": _Tracker(_tensorboard, "tensorboard", "DIR"),
    "mlflow": _Tracker(_mlflow, "mlflow", ""),
    "wandb": _Tracker(_wandb, "wandb", "PROJECT"),
}


def _checked(kind: str, where: str, target: str) -> _Tracker:
    """Return the tracker of a target.

    Raises:
        InputError: the target is not valid, or its package is not installed.
    """
    place = f"--track {target}"
    if kind not in _TRACKERS:
        raise InputError(
            f"'{kind}' is not a known tracker", place=place, remedy=suggest(kind, _TRACKERS)
        )
    tracker = _TRACKERS[kind]
    if tracker.where and not where:
        raise InputError(
            f"{kind} needs a {tracker.where}", place=place, remedy=f"say {kind}:{tracker.where}"
        )
    try:
        importlib.import_module(tracker.package)
    except ImportError:
        raise InputError(
            f"{kind} is not installed", place=place, remedy=f"pip install 'recsys[{kind}]'"
        ) from None
    return tracker
