"""Trackers hear what a run's own files hold; whatever befalls them, the run is the same."""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_study import small

from recsys.errors import InputError
from recsys.experiment import trackers
from recsys.experiment.execution import Run, execute
from recsys.experiment.progress import EpochDone, Evaluated, Event, Resumed
from recsys.experiment.trackers import numbers, tracked


class Died(BaseException):
    """What ends a run in a test."""


def tracked_run(folder: Path, targets: list[str], said: list[str], **changes: Any) -> Run:
    experiment = small(folder, **changes)
    with tracked(targets, experiment, "run", said.append) as watch:
        return execute(experiment, folder / "run", watch=watch)


def wanted(run: Run) -> dict[tuple[str, int], float]:
    """Every number of the run's files, by name and epoch."""
    found: dict[tuple[str, int], float] = {}
    for line in (run.folder / "fit" / "history.jsonl").read_text().splitlines():
        entry = json.loads(line)
        found |= {
            (key, entry["epoch"]): float(entry[key])
            for key in ("loss", "seconds", "pairs_per_second", "valid_seconds")
        }
        found |= {
            (f"valid/{metric}", entry["epoch"]): value for metric, value in entry["valid"].items()
        }
    for part in ("valid", "test"):
        report = run.report(part)
        found |= {
            (f"final/{part}/{metric}", entry["epoch"]): report[metric] for metric in report.names
        }
    return found


class Heard:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.name, self.found, self.end = "", {}, "-"
        self.order: list[tuple[str, int]] = []

    def __call__(self, where: str, name: str, experiment: Any, entries: trackers.Entries) -> None:
        self.name = f"{where}/{name}"
        try:
            for values, step in entries:
                self.found |= {(key, step): value for key, value in values.items()}
                self.order.append((min(values, default=""), step))
            self.end = "finished"
        except Exception:
            self.end = "failed"
            raise


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    ear = Heard()
    monkeypatch.setitem(trackers._TRACKERS, "ear", trackers._Tracker(ear, "json", "PLACE"))
    return ear


def test_a_tracker_hears_every_number_of_the_run(tmp_path: Path, heard: Heard) -> None:
    said: list[str] = []
    run = tracked_run(tmp_path, ["ear:there:1"], said)
    assert heard.found == wanted(run)
    assert (heard.name, heard.end, said) == ("there:1/run", "finished", [])
    plain = execute(small(tmp_path), tmp_path / "plain")
    assert run.fingerprint == plain.fingerprint


def test_epochs_of_a_refit_are_told_apart(tmp_path: Path, heard: Heard) -> None:
    from dataclasses import replace

    experiment = replace(small(tmp_path), refit=True)
    with tracked(["ear:x"], experiment, "run", print) as watch:
        run = execute(experiment, tmp_path / "run", watch=watch)
    again = [step for key, step in heard.found if key == "refit/loss"]
    assert again == list(range(1, run.meta.best_epoch + 1))
    assert [step for key, step in heard.found if key == "loss"] == [1, 2, 3]
    assert any(key == "final/test/ndcg@5" for key, _ in heard.found)


def test_a_run_that_goes_on_is_told_whole(tmp_path: Path, heard: Heard) -> None:
    experiment = small(tmp_path, train={"checkpoint_seconds": 0.0})

    def die(event: Event) -> None:
        if isinstance(event, EpochDone) and event.entry.epoch == 3:
            raise Died

    with pytest.raises(Died):
        execute(experiment, tmp_path / "run", watch=die)
    with tracked(["ear:x"], experiment, "run", print) as watch:
        run = execute(experiment, tmp_path / "run", resume=True, watch=watch)
    assert heard.found == wanted(run)
    assert [step for key, step in heard.order if not key.startswith("final")] == [1, 2, 3]


def test_a_tracker_hears_that_the_run_failed(tmp_path: Path, heard: Heard) -> None:
    experiment, said = small(tmp_path, train={"lr": 1e30, "optimizer": "sgd"}), []
    with (
        pytest.raises(InputError, match=r"lower train\.lr"),
        tracked(["ear:x"], experiment, "run", said.append) as watch,
    ):
        execute(experiment, tmp_path / "run", watch=watch)
    assert (heard.end, said) == ("failed", [])


@pytest.mark.parametrize("after", [0, 2])
def test_a_tracker_that_fails_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard, after: int
) -> None:
    def broken(where: str, name: str, experiment: Any, entries: trackers.Entries) -> None:
        for _ in range(after):
            next(iter(entries))
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setitem(trackers._TRACKERS, "broken", trackers._Tracker(broken, "json", ""))
    said: list[str] = []
    run = tracked_run(tmp_path, ["broken", "ear:x"], said)
    assert said == [
        "broken has failed and gets no more of this run: ConnectionError: no route to host"
    ]
    assert heard.found == wanted(run)
    assert run.fingerprint == execute(small(tmp_path), tmp_path / "plain").fingerprint


def test_training_waits_for_no_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setitem(
        trackers._TRACKERS, "hangs", trackers._Tracker(lambda *_: free.wait() and None, "json", "")
    )
    monkeypatch.setattr(trackers, "_PATIENCE", 0.05)
    said: list[str] = []
    try:
        run = tracked_run(tmp_path, ["hangs"], said)
    finally:
        free.set()
    assert run.meta.status == "finished"
    assert said == ["hangs has not taken everything within 0.05 s; the run is complete without it"]


@pytest.mark.parametrize(
    ("target", "piece"),
    [
        (
            "tensorbord:x",
            r"tensorbord:x: 'tensorbord' is not a known tracker; did you mean 'tensorboard'\?",
        ),
        ("tensorboard", "needs a DIR; say tensorboard:DIR"),
        ("wandb:", "needs a PROJECT; say wandb:PROJECT"),
        ("", "is not a known tracker"),
    ],
)
def test_a_target_that_is_none_is_refused(tmp_path: Path, target: str, piece: str) -> None:
    with pytest.raises(InputError, match=piece), tracked([target], small(tmp_path), "run", print):
        pytest.fail("it was opened")


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with (
        pytest.raises(
            InputError, match=rf"{kind} is not installed; pip install 'recsys\[{kind}\]'"
        ),
        tracked([f"{kind}:x"], small(tmp_path), "r", print),
    ):
        pytest.fail("it was opened")


def test_numbers_are_finite_and_named_by_their_table() -> None:
    entry = {
        "loss": 1,
        "best": True,
        "text": "x",
        "valid": {"ndcg@5": 0.5, "mrr": float("nan")},
        "denoise": {"a": {"b": 2.0}},
    }
    assert numbers(entry) == {"loss": 1.0, "valid/ndcg@5": 0.5, "denoise/a/b": 2.0}


def test_the_command_line_has_trackers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heard: Heard,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from recsys import cli
    from recsys.config import to_toml

    path = tmp_path / "small.toml"
    path.write_text(to_toml(small(tmp_path).to_tree()))

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["recsys", "run", str(path), "--quiet", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call("--out", str(tmp_path / "run"), "--track", "ear:a") == 0
    assert heard.name == "a/run"
    assert call("--out", str(tmp_path / "other"), "--track", "nothing:a") == 2
    assert "'nothing' is not a known tracker" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


# The trackers themselves, where they are installed.


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What these libraries warn of is theirs; none of them calls home."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "DO_NOT_TRACK": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def imported(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.mark.usefixtures("calm")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    imported("tensorboard")
    reader = imported("tensorboard.backend.event_processing.event_accumulator")
    said: list[str] = []
    run = tracked_run(tmp_path, [f"tensorboard:{tmp_path / 'tb'}"], said)
    with tracked(
        [f"tensorboard:{tmp_path / 'tb'}"], run.experiment, "run", said.append
    ) as watch:  # told again, as when a run goes on
        watch(Resumed(len(run.history), 0, tuple(run.history)))
        for part in ("valid", "test"):
            watch(Evaluated(part, run.report(part)))
    assert said == []
    (folder,) = (tmp_path / "tb").iterdir()
    read = reader.EventAccumulator(str(folder)).Reload()
    found = {
        (tag, event.step): event.value
        for tag in read.Tags()["scalars"]
        for event in read.Scalars(tag)
    }
    assert found == pytest.approx(wanted(run), rel=1e-6)  # float32
    assert sum(len(read.Scalars(tag)) for tag in read.Tags()["scalars"]) == len(found)
    assert b"[model]" in read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]


@pytest.mark.usefixtures("calm")
def test_mlflow_holds_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = imported("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri, said = (tmp_path / "mlruns").as_uri(), []
    run = tracked_run(tmp_path, [f"mlflow:{uri}"], said)
    assert said == []
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("recsys").experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["model.dim"] == "8"
    history = {
        (key, each.step): each.value
        for key in found.data.metrics
        for each in client.get_metric_history(found.info.run_id, key)
    }
    assert history == {
        (key.replace("@", "_at_"), step): value for (key, step), value in wanted(run).items()
    }


@pytest.mark.usefixtures("calm")
def test_a_server_of_mlflow_that_is_not_there_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    run = tracked_run(tmp_path, ["mlflow:http://127.0.0.1:9"], said)
    assert run.meta.status == "finished"
    assert len(said) == 1
    assert said[0].startswith("mlflow has failed")


@pytest.mark.usefixtures("calm")
def test_wandb_keeps_a_run_while_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    said: list[str] = []
    tracked_run(tmp_path, ["wandb:project"], said)
    assert said == []
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    words = (b"valid/ndcg@5", b"final/test/ndcg@5", b"project", b"pairs_per_second")
    for _ in range(100):  # another process writes it
        if all(word in kept.read_bytes() for word in words):
            break
        time.sleep(0.1)
    content = kept.read_bytes()
    assert {word for word in words if word not in content} == set()
