"""Studies whose trials are in a database that several machines work on: SQLite here, and PostgreSQL where a server can be started."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from test_study import essence, small
from test_study_kill import Killed, dies_at, start_or_resume

from recsys.errors import InputError
from recsys.study import open_study, storage, tune


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs; some systems keep it off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a server that listens on a socket in a folder of its own."""
    pytest.importorskip("psycopg")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        if user is not None:
            try:
                shutil.chown(folder, user)
            except LookupError:
                pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
        command = [str(programs / "initdb"), "-D", name + "/data", "-U", "tester", "--auth=trust", "--no-sync"]
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=name)
        options = ["-k", name, "-c", "listen_addresses=", "-c", "fsync=off"]
        log = (folder / "log").open("w")
        server = subprocess.Popen([str(programs / "postgres"), "-D", name + "/data", *options], user=user, stdout=log, stderr=log, cwd=name)
        try:
            import psycopg

            for _ in range(200):
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(host=name, user="tester", dbname="postgres").close()
                    break
                time.sleep(0.1)
            yield f"postgresql://tester@/postgres?host={name}"
        finally:
            server.terminate()
            server.wait()
            log.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'trials.db'}"
        return
    psycopg = pytest.importorskip("psycopg")

    server = request.getfixturevalue("postgres")
    name = "study_" + str(abs(hash(str(tmp_path))))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")


def test_a_database_holds_the_same_study_as_a_journal(tmp_path: Path, url: str) -> None:
    journal = tune(small(tmp_path, tune={"pruner": "median"}), tmp_path / "journal")
    study = tune(small(tmp_path, tune={"pruner": "median"}), tmp_path / "study", storage=url)
    assert essence(study) == essence(journal)
    assert not (tmp_path / "study" / "study.journal").exists()
    assert essence(open_study(tmp_path / "study")) == essence(journal)
    assert (tmp_path / "study" / "best.toml").read_bytes() == (tmp_path / "journal" / "best.toml").read_bytes()


def test_a_killed_study_goes_on_from_the_database(tmp_path: Path, url: str) -> None:
    experiment = small(tmp_path, train={"checkpoint_seconds": 0.0}, tune={"trials": 4})
    whole = tune(experiment, tmp_path / "whole")
    with dies_at(11), contextlib.suppress(Killed):
        tune(experiment, tmp_path / "study", storage=url)
    assert [trial.state for trial in open_study(tmp_path / "study").trials][-1] == "running"
    assert essence(start_or_resume(experiment, tmp_path / "study")) == essence(whole)


def test_machines_share_a_budget(tmp_path: Path, url: str) -> None:
    """Each has a folder of its own; the second finds the study begun, and the third finds nothing left to do."""
    tune(small(tmp_path, tune={"trials": 2}), tmp_path / "one", storage=url)
    two = tune(small(tmp_path, tune={"trials": 5}), tmp_path / "two", storage=url)
    three = tune(small(tmp_path, tune={"trials": 5}), tmp_path / "three", storage=url)
    assert len(two.trials) == len(three.trials) == 5
    assert sorted(path.name for path in (tmp_path / "two" / "trials").iterdir()) == ["0002", "0003", "0004"]
    assert [trial.origin for trial in three.trials].count("own") == 1
    assert (tmp_path / "three" / "best.toml").exists()
    assert essence(three) == essence(tune(small(tmp_path, tune={"trials": 5}), tmp_path / "alone"))


def test_workers_share_a_database(tmp_path: Path, url: str) -> None:
    study = tune(small(tmp_path, tune={"trials": 6}), tmp_path / "study", storage=url, workers=2, threads=1)
    assert {trial.state for trial in study.trials} == {"complete"}
    assert len(study.trials) == 6


def test_the_trial_of_a_machine_that_is_gone_is_begun_again(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)
    study = tune(small(tmp_path, tune={"trials": 2}), tmp_path / "study", storage=url)
    theirs = study.trials[1].settings | {"model.dim": 16}
    gone = create_trial(state=TrialState.RUNNING, user_attrs={"place": "another machine", "origin": "tpe", "settings": theirs})
    lost = study.storage.create_new_trial(study.optuna._study_id, template_trial=gone)
    study.storage.record_heartbeat(lost)  # type: ignore[attr-defined]
    early = tune(None, tmp_path / "study", resume=True, budget={"trials": 3})
    assert [trial.state for trial in early.trials] == ["complete", "complete", "running"]  # it counts as long as it may be alive
    time.sleep(2.5)
    late = tune(None, tmp_path / "study", resume=True, budget={"trials": 4})
    assert [trial.state for trial in late.trials] == ["complete", "complete", "lost", "complete", "complete"]
    assert late.trials[3].settings == theirs
    assert late.used()["trials"] == 4


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
    ],
)
def test_a_database_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path, url: str, piece: str) -> None:
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
    with pytest.raises(InputError, match=r"study.journal: is not a whole journal"):
        tune(None, tmp_path / "study", resume=True)
    journal.unlink()
    with pytest.raises(InputError, match="no such file"):
        _ = open_study(tmp_path / "study").trials
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
