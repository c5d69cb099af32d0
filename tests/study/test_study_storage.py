"""Studies of several machines in a database: SQLite, and PostgreSQL if a server can be started."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from postgres import Missing, serve
from test_study import essence, small
from test_study_kill import Killed, dies_at, kill_worker, start_or_resume

from recsys.errors import InputError
from recsys.study import storage
from recsys.study.progress import TrialBegun, TrialDone
from recsys.study.tuning import open_study, tune


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a server."""
    try:
        with serve() as url:
            yield url
    except Missing as error:
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'trials.db'}"
        return
    yield database(request.getfixturevalue("postgres"), tmp_path)


def database(server: str, tmp_path: Path) -> str:
    """A new database of the server."""
    import psycopg

    name = "study_" + str(abs(hash(str(tmp_path))))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


def test_a_database_holds_the_same_study_as_a_journal(tmp_path: Path, url: str) -> None:
    journal = tune(small(tmp_path, tune={"pruner": "median"}), tmp_path / "journal")
    study = tune(small(tmp_path, tune={"pruner": "median"}), tmp_path / "study", storage=url)
    assert essence(study) == essence(journal)
    assert not (tmp_path / "study" / "study.journal").exists()
    assert essence(open_study(tmp_path / "study")) == essence(journal)
    assert (tmp_path / "study" / "best.toml").read_bytes() == (
        tmp_path / "journal" / "best.toml"
    ).read_bytes()


def test_a_killed_study_goes_on_from_the_database(tmp_path: Path, url: str) -> None:
    experiment = small(tmp_path, train={"checkpoint_seconds": 0.0}, tune={"trials": 4})
    whole = tune(experiment, tmp_path / "whole")
    with dies_at(11), contextlib.suppress(Killed):
        tune(experiment, tmp_path / "study", storage=url)
    assert [trial.state for trial in open_study(tmp_path / "study").trials][-1] == "running"
    assert essence(start_or_resume(experiment, tmp_path / "study")) == essence(whole)


def test_machines_share_a_budget(tmp_path: Path, url: str) -> None:
    """Each machine has a folder; the second finds the study begun, the third finds it done."""
    tune(small(tmp_path, tune={"trials": 2}), tmp_path / "one", storage=url)
    two = tune(small(tmp_path, tune={"trials": 5}), tmp_path / "two", storage=url)
    three = tune(small(tmp_path, tune={"trials": 5}), tmp_path / "three", storage=url)
    assert len(two.trials) == len(three.trials) == 5
    assert sorted(path.name for path in (tmp_path / "two" / "trials").iterdir()) == [
        "0002",
        "0003",
        "0004",
    ]
    assert [trial.origin for trial in three.trials].count("own") == 1
    assert (tmp_path / "three" / "best.toml").exists()
    assert essence(three) == essence(tune(small(tmp_path, tune={"trials": 5}), tmp_path / "alone"))


def test_workers_share_a_database(tmp_path: Path, url: str) -> None:
    study = tune(
        small(tmp_path, tune={"trials": 6}), tmp_path / "study", storage=url, workers=2, threads=1
    )
    assert {trial.state for trial in study.trials} == {"complete"}
    assert len(study.trials) == 6


def test_workers_that_are_killed_lose_no_trial_of_a_database(tmp_path: Path, postgres: str) -> None:
    """Every third trial kills a worker: no trial is lost, finished twice, or left running."""
    if not Path("/proc").is_dir():
        pytest.skip("finds its workers in /proc")
    begun, ended, died = Counter[int](), Counter[int](), 0

    def watch(event: object) -> None:
        nonlocal died
        if isinstance(event, TrialBegun):
            begun[event.number] += 1
            if event.number % 3 == 1 and begun[event.number] == 1:
                died += kill_worker()
        elif isinstance(event, TrialDone):
            ended[event.number] += 1

    experiment = small(tmp_path, train={"checkpoint_seconds": 0.0}, tune={"trials": 6})
    study = tune(
        experiment,
        tmp_path / "study",
        storage=database(postgres, tmp_path),
        workers=2,
        threads=1,
        watch=watch,
    )
    assert died == 2
    assert [trial.state for trial in study.trials] == ["complete"] * 6
    assert (
        max(ended.values()) == 1
    )  # that of a worker killed between the result and its line is not heard of
    assert len({str(trial.settings) for trial in study.trials}) == 6


def test_a_proxy_stands_before_a_database(tmp_path: Path) -> None:
    """Optuna's, over gRPC: the study is the same, and one that does not answer is one line."""
    grpc = pytest.importorskip("grpc")
    server = pytest.importorskip("optuna.storages._grpc.server")
    behind = storage.open_url(f"sqlite:///{tmp_path / 'trials.db'}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = server.make_server(behind, "127.0.0.1", port, ThreadPoolExecutor(4))
    proxy.start()
    try:
        url = f"grpc://127.0.0.1:{port}"
        study = tune(small(tmp_path), tmp_path / "study", storage=url)
        assert essence(study) == essence(tune(small(tmp_path), tmp_path / "journal"))
        assert study.meta.storage == url
        assert len(tune(None, tmp_path / "study", resume=True, budget={"trials": 7}).trials) == 7
    finally:
        proxy.stop(None).wait()
    assert grpc is not None


def test_the_trial_of_a_machine_that_is_gone_is_begun_again(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    study = tune(small(tmp_path, tune={"trials": 2}), tmp_path / "study", storage=url)
    theirs = study.trials[1].settings | {"model.dim": 16}
    gone = create_trial(
        state=TrialState.RUNNING,
        user_attrs={"place": "another machine", "origin": "tpe", "settings": theirs},
    )
    lost = study.storage.create_new_trial(study.optuna._study_id, template_trial=gone)
    study.storage.record_heartbeat(lost)  # type: ignore[attr-defined]
    early = tune(None, tmp_path / "study", resume=True, budget={"trials": 3})
    assert [trial.state for trial in early.trials] == [
        "complete",
        "complete",
        "running",
    ]  # it counts as long as it may be alive
    monkeypatch.setattr(storage, "GRACE", 1)
    time.sleep(2.5)
    late = tune(None, tmp_path / "study", resume=True, budget={"trials": 4})
    assert [trial.state for trial in late.trials] == [
        "complete",
        "complete",
        "lost",
        "complete",
        "complete",
    ]
    assert late.trials[3].settings == theirs
    assert late.used().trials == 4


def test_a_study_of_other_data_is_not_joined(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    tune(small(tmp_path, tune={"trials": 1}), tmp_path / "one", storage=url)
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text() + "u1,i59\nu2,i58\n")
    with pytest.raises(InputError, match="other data"):
        tune(small(tmp_path, tune={"trials": 2}), tmp_path / "two", storage=url)
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("url", "piece"),
    [
        ("nonsense", "cannot be used"),
        ("mysqlx://a/b", "cannot be used"),
        ("sqlite:////nowhere/at/all.db", "cannot be used"),
        ("postgresql://me:secret@127.0.0.1:1/none", "cannot be used|not installed"),
        ("grpc://nowhere", "not the URL of a proxy"),
        ("grpc://me:secret@127.0.0.1:1", "does not answer within 0.5 s|not installed"),
    ],
)
def test_a_database_that_is_none_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, piece: str
) -> None:
    monkeypatch.setattr(storage, "_PATIENCE", 0.5)
    with pytest.raises(InputError, match=piece) as caught:
        tune(small(tmp_path), tmp_path / "study", storage=url)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "study").exists()


def test_no_password_is_shown() -> None:
    shown = storage.without_password
    assert shown("postgresql://me:pa:ss@w@host:5432/name") == "postgresql://me@host:5432/name"
    assert shown("postgresql://me@host/name") == "postgresql://me@host/name"
    assert shown("sqlite:///a:b.db") == "sqlite:///a:b.db"


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    tune(small(tmp_path, tune={"trials": 1}), tmp_path / "study")
    journal = tmp_path / "study" / "study.journal"
    lines: Any = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[1:]))
    with pytest.raises(InputError, match=r"study.journal: is not a journal"):
        tune(None, tmp_path / "study", resume=True)
    journal.unlink()
    with pytest.raises(InputError, match="no such file"):
        _ = open_study(tmp_path / "study").trials
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
