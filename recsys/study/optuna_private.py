"""All uses of private names of Optuna, in one place; they were checked with Optuna 5.0.

Optuna has no public way to send the heartbeat of a trial that was created through a storage, to
write a lock for its journal, to tell the operations of a journal apart, or to close its proxy.
"""

from __future__ import annotations

from collections.abc import Callable

import optuna
from optuna.storages._heartbeat import get_heartbeat_thread, is_heartbeat_enabled
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial

__all__ = [
    "BaseJournalFileLock",
    "JournalOperation",
    "closer_of",
    "get_heartbeat_thread",
    "get_lock_file",
    "is_heartbeat_enabled",
    "study_id",
    "trial_id",
]


def study_id(study: optuna.Study) -> int:
    """Return the id of a study in its storage."""
    return study._study_id


def trial_id(trial: FrozenTrial) -> int:
    """Return the id of a trial in its storage, which differs from its number."""
    return trial._trial_id


def closer_of(proxy: optuna.storages.GrpcStorageProxy) -> Callable[[], None]:
    """Return the function that closes the connection of a proxy, without a reference to it."""
    close: Callable[[], None] = proxy._channel.close
    return close
