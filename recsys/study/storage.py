"""Where the trials of a study are kept: a journal in its folder, which needs nothing installed, or a database.

The journal is Optuna's own, so its tools can open it. Two things are ours: its lock is one of the
kernel's (`recsys.files`), which goes with the process that holds it, whatever ends that process; and a
last line that was cut off (a full disk, a power failure) is taken away before the next is written.
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
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.storages.journal._storage import JournalOperation

from recsys.errors import InputError, first_line
from recsys.files import Lock, hold_lock

__all__ = [
    "Journal",
    "open_journal",
    "open_url",
    "quiet",
    "without_password",
]

# Seconds between two signs of life of a trial in a database, and without one until it counts as lost.
HEARTBEAT, GRACE = 30, 120

# Seconds in which a proxy has to answer.
_PATIENCE = 10.0


# Lines that may wait for the next flush: the settings of a trial and its result, which come after them, do not.
_MAY_WAIT = {
    JournalOperation.CREATE_TRIAL,
    JournalOperation.SET_TRIAL_PARAM,
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
    JournalOperation.SET_TRIAL_USER_ATTR,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR,
}


class Journal(JournalFileBackend):
    """Optuna's file, flushed to the disk twice in a trial and not with each of its dozen lines.

    A process that is killed loses nothing that it has written. A power failure may take what came after the last flush: the beginning of a trial that
    trained nothing yet, or a part of its curve, which its checkpoint tells again.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in logs)
        with get_lock_file(self._lock), Path(self._file_path).open("ab") as file:
            file.write(text.encode())
            if any(
                line["op_code"] not in _MAY_WAIT or "settings" in line.get("user_attr", {})
                for line in logs
            ):
                file.flush()
                os.fsync(file.fileno())


class _JournalLock(BaseJournalFileLock):
    """The lock of a journal, for Optuna; whoever takes it finds the journal whole."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.lock = journal, Lock(journal.with_name(f".{journal.name}.lock"))

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
    """Take away a last line that was not written to its end."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def open_journal(path: Path) -> BaseStorage:
    """The journal at a path, made where there is none.

    Raises:
        InputError: it is not one, or damaged before its last line.
    """
    try:
        with hold_lock(path.with_name(f".{path.name}.lock")):
            _mend(path)
        return JournalStorage(Journal(str(path), lock_obj=_JournalLock(path)))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"is not a whole journal: {error}",
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
    """A database, through Optuna and SQLAlchemy; a trial without a sign of life for some minutes is begun again by another worker.

    grpc://HOST:PORT is Optuna's proxy (`optuna.storages.run_grpc_proxy_server`), behind which a database can stand that workers do not reach.

    Raises:
        InputError: no such database, its driver is not installed, or it refuses.
    """
    if url.startswith("grpc://"):
        return _open_proxy(url)
    from sqlalchemy.exc import SQLAlchemyError

    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    shown = without_password(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        again = optuna.storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
        try:
            storage = RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=again,
            )
        except ImportError:
            remedy = "pip install 'recsys[postgres]'"
            raise InputError(
                "the driver of this database is not installed", place=shown, remedy=remedy
            ) from None
        except (SQLAlchemyError, ValueError, RuntimeError) as error:
            said = first_line(error)
            raise InputError(
                f"the database cannot be used: {said}",
                place=shown,
                remedy="check the URL, as in postgresql://user@host/name",
            ) from None
    weakref.finalize(storage, storage.engine.dispose)  # its connections are closed with it
    return optuna.storages.get_storage(
        storage
    )  # which reads a trial that has ended once, and not each time that trials are looked at


def _open_proxy(url: str) -> BaseStorage:
    place, remedy = (
        without_password(url),
        "check the URL, as in grpc://host:13000, and whether its server runs",
    )
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
    weakref.finalize(storage, storage._channel.close)
    return storage


def without_password(url: str) -> str:
    """A URL that may be shown and stored."""
    """A URL that may be shown and stored."""
    scheme, mark, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{login.partition(':')[0]}{at}{host}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from talking, and from warning that what is used here may change in its next version."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
