"""Files and folders: atomic writes, JSON, checksums, and locks between processes.

A file is written completely or not at all. Locks belong to the kernel, on POSIX and on Windows: a
lock is released when its process ends, even if it is killed. A command claims its folder
before it does anything else: it creates the folder in one step and locks it until the command ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from recsys.errors import InputError, RetryError

__all__ = [
    "LOCK",
    "Lock",
    "disk_error",
    "exclusive",
    "hold_lock",
    "is_held",
    "missing",
    "new_folder",
    "read_json",
    "refuse_held",
    "remove_leftovers",
    "sha256_of",
    "temporary_of",
    "user_folder",
    "write_atomic",
    "write_json",
    "write_text",
]

# The file that a command locks for as long as it works on a folder.
LOCK = ".lock"

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# Some network disks have no locks. There, only the creation of the folder keeps two commands apart.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT)
# The disk may be back, mounted for writing or less busy when the same command runs again.
_PASSING = (
    *_FULL,
    errno.EROFS,
    errno.EIO,
    errno.ENOENT,
    errno.ESTALE,
    errno.EAGAIN,
    errno.EBUSY,
    errno.ETIMEDOUT,
    errno.EMFILE,
    errno.ENFILE,
)
_TRIES = 100  # attempts at a folder that another command keeps removing
_NEAR = 12  # names of other files in an error
_PAUSE = 0.05  # seconds between two attempts at a lock that cannot be waited for


def write_atomic(path: Path, produce: Callable[[Path], object]) -> None:
    """Write a file completely or not at all.

    `produce` writes a temporary file in the same folder. The file is then flushed to the disk and
    renamed to `path` in one step.

    Args:
        path: the file to write; missing folders are created.
        produce: called with the path of the temporary file, which it must write.

    Raises:
        InputError: the folder cannot be written or the disk is full; `path` is left unchanged.
    """
    path = Path(path)
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        produce(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # an interrupt must leave no half-written file either
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(OSError(error.errno, error.strerror), path) from None
        raise


def temporary_of(path: Path) -> Path:
    """Return a hidden name next to a path that no other process uses, on any machine."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files of processes that were killed while they wrote.

    Only the holder of the folder's lock may call it.

    Returns:
        The number of files that were removed.
    """
    leftovers = [path for path in folder.rglob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, completely or not at all."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, with keys in order of insertion and floats in full precision."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    write_text(path, text)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable or not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "no such file", place=str(path), remedy="is this the folder of a run?"
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot be read: {error}",
            place=str(path),
            remedy="the file is damaged: restore it, or repeat the run",
        ) from None


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(error: OSError, path: Path, room: str = "") -> InputError:
    """Turn an error of the operating system into an `InputError` with a cause and a remedy.

    It is a `RetryError` if the same write may succeed later.

    Args:
        error: the error of a failed write.
        path: the file to write, used if the system names none.
        room: the remedy if the disk is full.
    """
    place = str(error.filename or path)
    remedy = "check the path and its permissions, or choose another folder"
    if error.errno in (*_FULL, errno.EFBIG):
        remedy = room or "free some space or choose another folder"
    kind = RetryError if error.errno in _PASSING else InputError
    return kind(f"cannot be written: {_disk_cause(error)}", place=place, remedy=remedy)


def _disk_cause(error: OSError) -> str:
    return "the disk is full" if error.errno in _FULL else (error.strerror or str(error))


class Lock:
    """A lock on a file, which the kernel releases when the process that holds it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, wait: bool) -> bool:
        """Take the lock, and return whether it was taken; without `wait`, return at once."""
        for attempt in count(1):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # an earlier holder removed the folder
                if attempt == _TRIES:
                    raise
                continue
            try:
                is_locked = _lock(descriptor, wait)
                if is_locked and self._is_current(descriptor):
                    self._descriptor = descriptor
                    return True
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if not is_locked:
                return False
            # The previous holder removed the file after it was opened here, so this lock is void.
        raise AssertionError("count has no end")

    def free(self, *, remove: bool = False) -> None:
        """Release the lock; `remove` also deletes its file."""
        if self._descriptor is None:
            return
        if remove:  # before another process can take it; Windows cannot delete an open file
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None
        if remove and sys.platform == "win32":
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _is_current(self, descriptor: int) -> bool:
        """Return whether the opened file still has this path."""
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        opened = os.fstat(descriptor)
        return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)


def _lock(descriptor: int, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor, wait)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _lock_on_windows(descriptor: int, wait: bool) -> bool:
    import msvcrt

    while True:
        try:
            without_waiting = msvcrt.LK_NBLCK  # type: ignore[attr-defined,unused-ignore]
            lock = msvcrt.locking  # type: ignore[attr-defined,unused-ignore]
            lock(descriptor, without_waiting, 1)
        except OSError:  # the waiting mode of Windows gives up after ten seconds
            if not wait:
                return False
            time.sleep(_PAUSE)
        else:
            return True


@contextlib.contextmanager
def hold_lock(path: Path, *, remove: bool = False) -> Iterator[None]:
    """Wait for the lock of a file and hold it; `remove` deletes the file at the end."""
    lock = Lock(path)
    lock.take(wait=True)
    try:
        yield
    finally:
        lock.free(remove=remove)


def is_held(path: Path) -> bool:
    """Return whether any process holds the lock of a file."""
    if not path.exists():
        return False
    lock = Lock(path)
    try:
        is_free = lock.take(wait=False)
    except OSError:  # no command can work on a disk that cannot be written
        return False
    lock.free()
    return not is_free


def refuse_held(folder: Path, what: str, remedy: str) -> None:
    """Refuse a folder that another command is using, without changing it.

    Args:
        folder: the folder.
        what: the noun for the message, such as "study".
        remedy: the remedy for the message.

    Raises:
        InputError: another command holds the lock of the folder.
    """
    if folder.is_dir() and is_held(folder / LOCK):
        raise _in_use(folder, what, remedy)


def _in_use(folder: Path, what: str, remedy: str) -> InputError:
    return RetryError(f"another command works on this {what}", place=str(folder), remedy=remedy)


@contextlib.contextmanager
def exclusive(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Create a folder and lock it against other commands until the end of the block.

    A folder that was created here and is still empty at the end is removed, so that an early
    mistake leaves nothing behind.

    Args:
        folder: the folder.
        what: the noun for the message, such as "study".
        remedy: the remedy for the message.

    Raises:
        InputError: another command holds the lock, or the folder cannot be written.
    """
    created: list[Path] = []
    lock = Lock(folder / LOCK)
    try:
        _create(folder, created)
        is_locked = lock.take(wait=False)
    except OSError as error:
        _remove_empty(created)
        raise disk_error(error, folder) from None
    if not is_locked:
        raise _in_use(folder, what, remedy)
    try:
        yield
    finally:
        lock.free(remove=True)
        _remove_empty(created)


@contextlib.contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """Create a new folder: parent/name, or parent/name-2, parent/name-3, ... if that exists.

    The folder is created in one step, so two commands never share one. It is removed at the end of
    the block if it is still empty.
    """
    created: list[Path] = []
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        before = len(created)
        _create(folder, created)
        if folder in created[before:]:
            break
    try:
        yield folder
    finally:
        _remove_empty(created)


def _create(folder: Path, created: list[Path]) -> None:
    """Create a folder and its missing parents; append those created here, parents first."""
    for attempt in count(1):
        try:
            for path in reversed([folder, *folder.parents]):
                if path.is_dir():
                    continue
                with contextlib.suppress(FileExistsError):  # another command was faster
                    path.mkdir()
                    created.append(path)
        except FileNotFoundError:  # a parent was empty, and another command removed it
            created[:] = [path for path in created if path.is_dir()]
            if attempt == _TRIES:
                raise
        else:
            return


def _remove_empty(created: list[Path]) -> None:
    for path in reversed(created):
        with contextlib.suppress(OSError):
            path.rmdir()


def user_folder(variable: str, default: str, leaf: str) -> Path:
    """Return `$RECSYS_HOME/leaf`, else `${variable}/recsys/leaf`, else `~/default/recsys/leaf`."""
    if root := os.environ.get("RECSYS_HOME"):
        return Path(root).expanduser().absolute() / leaf
    return Path(os.environ.get(variable) or Path.home() / default) / "recsys" / leaf


def missing(path: Path) -> InputError:
    """Return the error of a file or folder that does not exist; it names others of the folder."""
    folder = path.parent
    near = sorted(p.name for p in folder.iterdir())[:_NEAR] if folder.is_dir() else []
    return InputError(
        "no such file or folder",
        place=str(path),
        remedy=f"the folder holds {', '.join(near)}" if near else "check the path",
    )
