"""The storage of the trials: a journal in the folder of the study, or a database.

The journal has Optuna's format, so Optuna's tools can open it. Two things are different here. Its
lock is a lock of the kernel (`recsys.files`), which is released whenever its process ends. A last
line that was cut off, by a full disk or a power failure, is removed before the next one is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from recsys.errors import InputError, first_line
from recsys.files import Lock, hold_lock
from recsys.study.optuna_private import (
    BaseJournalFileLock,
    JournalOperation,
    closer_of,
    get_lock_file,
)

__all__ = [
    "Journal",
    "open_journal",
    "open_url",
    "quiet",
    "without_password",
]

# Seconds between two heartbeats of a trial in a database, and without one until it counts as lost.
HEARTBEAT = 30
GRACE = 120

# Seconds in which a proxy has to answer.
_PATIENCE = 10.0

# Lines that may wait for the next flush. The settings of a trial and its result may not.
_MAY_WAIT = {
    JournalOperation.CREATE_TRIAL,
    JournalOperation.SET_TRIAL_PARAM,
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
    JournalOperation.SET_TRIAL_USER_ATTR,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR,
}


class Journal(JournalFileBackend):
    """Optuna's journal file, flushed to the disk twice a trial instead of after each line.

    A killed process loses nothing that it has written. A power failure may lose the lines after
    the last flush: the beginning of a trial that has not trained yet, or a part of its curve,
    which the checkpoint of the trial repeats.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = _JournalLock(path)
        super().__init__(str(path), lock_obj=self.lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in logs)
        with get_lock_file(self.lock), self.path.open("ab") as file:
            file.write(text.encode())
            if any(
                line["op_code"] not in _MAY_WAIT or "settings" in line.get("user_attr", {})
                for line in logs
            ):
                file.flush()
                os.fsync(file.fileno())


class _JournalLock(BaseJournalFileLock):
    """The lock of a journal, for Optuna. Its holder finds the journal without a cut-off line."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = Lock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        self.lock.take(wait=True)
        try:
            _mend(self.journal)
        except BaseException:
            self.lock.free()
            raise
        return True

    def release(self) -> None:
        self.lock.free()


def _mend(journal: Path) -> None:
    """Remove a last line that was cut off."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def open_journal(path: Path) -> BaseStorage:
    """Open the journal at a path; create it if it does not exist.

    Raises:
        InputError: the file is not a journal, or it is damaged before its last line.
    """
    try:
        with hold_lock(path.with_name(f".{path.name}.lock")):
            _mend(path)
        return JournalStorage(Journal(path))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"is not a journal of a study, or is damaged: {error}",
            place=str(path),
            remedy="restore it, or start a new study",
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be opened: {error.strerror}",
            place=str(path),
            remedy="check the path and its permissions",
        ) from None


def open_url(url: str) -> BaseStorage:
    """Open a database, through Optuna and SQLAlchemy.

    A trial without a heartbeat for some minutes is restarted by another worker.

    Args:
        url: URL of the database. grpc://HOST:PORT is a proxy of Optuna
            (`optuna.storages.run_grpc_proxy_server`) for a database that workers cannot reach.

    Raises:
        InputError: the database does not exist, refuses, or its driver is not installed.
    """
    if url.startswith("grpc://"):
        return _open_proxy(url)
    from sqlalchemy.exc import SQLAlchemyError

    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        restart = optuna.storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
        try:
            storage = RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=restart,
            )
        except ImportError:
            raise InputError(
                "the driver of this database is not installed",
                place=without_password(url),
                remedy="pip install 'recsys[postgres]'",
            ) from None
        except (SQLAlchemyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"the database cannot be used: {first_line(error)}",
                place=without_password(url),
                remedy="check the URL, as in postgresql://user@host/name",
            ) from None
    weakref.finalize(storage, storage.engine.dispose)  # closes its connections
    # The cache of `get_storage` reads a finished trial once instead of on every look.
    return optuna.storages.get_storage(storage)


def _open_proxy(url: str) -> BaseStorage:
    place = without_password(url)
    remedy = "check the URL, as in grpc://host:13000, and whether its server is running"
    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError("is not the URL of a proxy", place=place, remedy=remedy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = optuna.storages.GrpcStorageProxy(host=host, port=int(port))
            storage.wait_server_ready(timeout=_PATIENCE)
        except ImportError:
            raise InputError(
                "grpcio is not installed", place=place, remedy="pip install 'recsys[grpc]'"
            ) from None
        except ConnectionError:
            raise InputError(
                f"the proxy does not answer within {_PATIENCE:g} s", place=place, remedy=remedy
            ) from None
    weakref.finalize(storage, closer_of(storage))
    return storage


def without_password(url: str) -> str:
    """Return a URL without its password, so that it may be shown and stored."""
    scheme, mark, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{login.partition(':')[0]}{at}{host}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log and its warnings about experimental features."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
