"""Files and folders: atomic writes, JSON, checksums, and locks between processes.

A file is written whole or not at all. A lock is the kernel's, on POSIX and on Windows, and it is
released when its process ends, however it ends. A command claims the folder it works in before it
does anything else: it creates the folder in one step and holds its lock until the command ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from recsys.errors import InputError

__all__ = [
    "LOCK",
    "Lock",
    "disk_error",
    "exclusive",
    "hold_lock",
    "is_held",
    "new_folder",
    "read_json",
    "refuse_held",
    "sha256_of",
    "write_atomic",
    "write_json",
    "write_text",
]

# What a command that works on a folder holds as long as it does.
LOCK = ".lock"

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# Some network disks have no locks; there the making of the folder is all that tells two commands apart.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRIES = 100  # at a folder that goes as often as it is made
_PAUSE = 0.05  # seconds between two looks at a lock that cannot be waited for


def write_atomic(path: Path, produce: Callable[[Path], object]) -> None:
    """Let `produce` write a temporary file beside `path`, flush it to disk, and put it in place of `path` in one step.

    Raises:
        InputError: the folder cannot be written or the disk is full; `path` is then as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        produce(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # an interrupt too leaves nothing half-written behind
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        if isinstance(error, OSError):
            raise disk_error(OSError(error.errno, error.strerror), path) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON, keys in order of insertion, floats in full."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    write_text(path, text)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: missing, unreadable or not JSON.
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
            remedy="the file is damaged: restore it or run again",
        ) from None


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(error: OSError, path: Path, room: str = "") -> InputError:
    """Return the error of a disk that could not be written, with its cause and a remedy.

    Args:
        error: what the system reported.
        path: the file that was to be written, unless the system names one.
        room: the remedy when the disk is full.
    """
    place = str(error.filename or path)
    remedy = "check the path and its permissions, or choose another folder"
    if error.errno in (*_FULL, errno.EFBIG):
        remedy = room or "free some space or choose another folder"
    return InputError(f"cannot be written: {_disk_cause(error)}", place=place, remedy=remedy)


def _disk_cause(error: OSError) -> str:
    return "the disk is full" if error.errno in _FULL else (error.strerror or str(error))


class Lock:
    """A lock on a file that the kernel gives back when its holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, wait: bool) -> bool:
        """Take the lock; without `wait`, answer at once whether it could be had."""
        for tried in count(1):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:  # an earlier holder took the folder back
                if tried == _TRIES:
                    raise
                continue
            try:
                had = _lock(descriptor, wait)
                if had and self._is_there(descriptor):
                    self._descriptor = descriptor
                    return True
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if not had:
                return False
            # Its holder removed the file while it was opened here: this one guards nothing.
        raise AssertionError("count has no end")

    def free(self, *, remove: bool = False) -> None:
        """Give the lock back, and with `remove` take its file away."""
        if self._descriptor is None:
            return
        if remove:  # before anyone else can have it; Windows removes no file that is open
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None
        if remove and sys.platform == "win32":
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _is_there(self, descriptor: int) -> bool:
        """Whether the file that was opened is the one that has the name now."""
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
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:  # its own way of waiting gives up after ten seconds
            if not wait:
                return False
            time.sleep(_PAUSE)
        else:
            return True


@contextlib.contextmanager
def hold_lock(path: Path, *, remove: bool = False) -> Iterator[None]:
    """Hold the lock of a file, waiting for it; with `remove` the file goes at the end."""
    lock = Lock(path)
    lock.take(wait=True)
    try:
        yield
    finally:
        lock.free(remove=remove)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    if not path.exists():
        return False
    lock = Lock(path)
    try:
        free = lock.take(wait=False)
    except OSError:  # a disk that cannot be written: nobody works there
        return False
    lock.free()
    return not free


def refuse_held(folder: Path, what: str, remedy: str) -> None:
    """Refuse a folder that another command works on, and leave it as it is.

    Raises:
        InputError: another command has it.
    """
    if folder.is_dir() and is_held(folder / LOCK):
        raise InputError(f"another command works on this {what}", place=str(folder), remedy=remedy)


@contextlib.contextmanager
def exclusive(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Make a folder and keep it to one command, from its first line to its last.

    A folder that was made here and is still empty at the end is taken away again, so that a mistake that
    shows early leaves nothing behind.

    Raises:
        InputError: another command has it, or it cannot be written.
    """
    made: list[Path] = []
    lock = Lock(folder / LOCK)
    try:
        _make(folder, made)
        taken = lock.take(wait=False)
    except OSError as error:
        _remove_empty(made)
        raise InputError(
            f"cannot be written: {error.strerror or error}",
            place=str(folder),
            remedy="free some space or choose another folder",
        ) from None
    if not taken:
        raise InputError(f"another command works on this {what}", place=str(folder), remedy=remedy)
    try:
        yield
    finally:
        lock.free(remove=True)
        _remove_empty(made)


@contextlib.contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder of one's own: parent/name, or parent/name-2, -3 and so on where that is taken.

    It is made in one step, so that of two commands each has its own, and taken away at the end where
    nothing was put into it.
    """
    made: list[Path] = []
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        before = len(made)
        _make(folder, made)
        if folder in made[before:]:
            break
    try:
        yield folder
    finally:
        _remove_empty(made)


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; which were made here is added to `made`, those above first."""
    for tried in count(1):
        try:
            for place in reversed([folder, *folder.parents]):
                if place.is_dir():
                    continue
                with contextlib.suppress(FileExistsError):  # another command was faster
                    place.mkdir()
                    made.append(place)
        except FileNotFoundError:  # one above was empty, and another command took it back
            made[:] = [place for place in made if place.is_dir()]
            if tried == _TRIES:
                raise
        else:
            return


def _remove_empty(made: list[Path]) -> None:
    for place in reversed(made):
        with contextlib.suppress(OSError):
            place.rmdir()
