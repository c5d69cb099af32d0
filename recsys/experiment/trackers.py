"""What a run says of itself, told to a tracker: TensorBoard, MLflow or Weights & Biases.

    recsys run cml.toml --track tensorboard:runs/tb --track mlflow:http://host:5000 --track wandb:project

A tracker is told what a run's own files hold: its settings, the numbers of each epoch, and those of the chosen scorer. It hears of them in a thread
of its own, so training waits for no server, and one that fails or hangs costs a warning. A run that is resumed is told from its first epoch on.
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
from pathlib import Path
from typing import Any

from recsys.errors import InputError, suggest
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

# Seconds that the end of a run waits for a tracker that has not heard everything yet.
_PATIENCE = 30.0


@contextlib.contextmanager
def tracked(
    targets: Sequence[str], experiment: Experiment, name: str, warn: Callable[[str], None]
) -> Iterator[Watch]:
    """Open trackers for one run.

    Args:
        targets: "tensorboard:DIR", "mlflow:URI" (a server, "sqlite:///FILE"; empty: where MLflow is configured to look) or "wandb:PROJECT".
        experiment: whose settings are written down.
        name: of the run.
        warn: told in a line when a tracker fails; once for each.

    Yields:
        A watch for `recsys.experiment.execution.execute`.

    Raises:
        InputError: a target that is none, or whose package is not installed.
    """
    lines = [_Line(target, experiment, name, warn) for target in targets]
    part, last = "", 0

    def send(values: Mapping[str, Any], step: int) -> None:
        found = {part + key: value for key, value in numbers(values).items()}
        for line in lines:
            line.waiting.put((found, step))

    def send_epoch(entry: EpochEntry) -> None:
        nonlocal last
        last = entry.epoch
        values = entry.to_json()
        values.pop("epoch")
        send(values, last)

    def watch(event: Event) -> None:
        nonlocal part
        match event:
            case RefitStarted():
                part = "refit/"
            case Evaluated(name, report):
                part = ""
                send({f"final/{name}": {metric: report[metric] for metric in report.names}}, last)
            case Resumed():
                for entry in event.history:
                    send_epoch(entry)
            case EpochDone():
                send_epoch(event.entry)

    for line in lines:
        line.thread.start()
    ended: _RunFailed | None = _RunFailed()
    try:
        yield watch
        ended = None
    finally:
        for line in lines:
            line.waiting.put(ended)
        for line in lines:
            line.end()


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of an epoch's entry; those of a table under `table/name`."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{key}/")
        elif (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ):
            found[prefix + key] = float(value)
    return found


class _RunFailed(Exception):
    """The run has ended with an error; what a tracker's thread meets in place of the next entry."""


class _Line:
    """The line to one tracker: a queue, and a thread that empties it."""

    def __init__(
        self, target: str, experiment: Experiment, name: str, warn: Callable[[str], None]
    ) -> None:
        kind, _, where = target.partition(":")
        if kind not in _TRACKERS:
            raise InputError(
                f"'{kind}' is no tracker",
                place=f"--track {target}",
                remedy=suggest(kind, _TRACKERS),
            )
        follow, package, wanted = _TRACKERS[kind]
        if wanted and not where:
            raise InputError(
                f"{kind} is not told where",
                place=f"--track {target}",
                remedy=f"say {kind}:{wanted}",
            )
        try:
            importlib.import_module(package)
        except ImportError:
            raise InputError(
                f"{kind} is not installed",
                place=f"--track {target}",
                remedy=f"pip install 'recsys[{kind}]'",
            ) from None
        self.kind, self.warn = kind, warn
        self.waiting: queue.SimpleQueue[tuple[dict[str, float], int] | _RunFailed | None] = (
            queue.SimpleQueue()
        )
        self.thread = threading.Thread(
            target=self._run,
            args=(follow, where, name, experiment),
            name=f"tracker {kind}",
            daemon=True,
        )

    def end(self) -> None:
        self.thread.join(_PATIENCE)
        if self.thread.is_alive():
            self.warn(
                f"{self.kind} has not taken everything within {_PATIENCE:g} s; the run is whole without it"
            )

    def _run(
        self,
        follow: Callable[[str, str, Experiment, Entries], None],
        where: str,
        name: str,
        experiment: Experiment,
    ) -> None:
        try:
            follow(where, name, experiment, self._entries())
        except _RunFailed:
            pass
        except Exception as error:  # whatever a library or a server comes up with
            said = (str(error).splitlines() or [""])[0]
            self.warn(
                f"{self.kind} has failed and hears no more of this run: {type(error).__name__}: {said}"
            )

    def _entries(self) -> Iterator[tuple[dict[str, float], int]]:
        while (entry := self.waiting.get()) is not None:
            if isinstance(entry, _RunFailed):
                raise entry
            yield entry


def _tensorboard(where: str, name: str, experiment: Experiment, entries: Entries) -> None:
    from torch.utils.tensorboard import SummaryWriter

    # Two runs of one name are kept apart; of one run, what an interrupted session wrote is told anew, so it is dropped.
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
    found = client.get_experiment_by_name("recsys")
    run = client.create_run(
        found.experiment_id if found else client.create_experiment("recsys"), run_name=name
    ).info.run_id
    status = "FAILED"
    try:
        params = [Param(key, str(value)) for key, value in _flat(experiment.to_tree()).items()]
        for start in range(0, len(params), 100):  # as many as it takes at once
            client.log_batch(run, params=params[start : start + 100])
        for values, step in entries:
            now = int(time.time() * 1000)
            # Its names hold letters, digits and a few signs: ndcg@20 is ndcg_at_20, as MLflow's own metrics are called.
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
        run.define_metric(
            "*", step_metric="epoch"
        )  # its own steps may not go back, as the epochs of a refit do
        for values, step in entries:
            run.log({**values, "epoch": step})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted path."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        )
    return found


# By name: the function, the package it needs, and what stands after the colon where that is needed.
_TRACKERS: dict[str, tuple[Callable[[str, str, Experiment, Entries], None], str, str]] = {
    "tensorboard": (_tensorboard, "tensorboard", "DIR"),
    "mlflow": (_mlflow, "mlflow", ""),
    "wandb": (_wandb, "wandb", "PROJECT"),
}
