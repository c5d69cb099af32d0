"""Downloads: one file from a url to the disk, complete and checked, or absent."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recsys.data.catalog.transfer import GIB, ROOM, Interrupted, Progress, Transfer
from recsys.errors import InputError
from recsys.files import disk_error, hold_lock, sha256_of

__all__ = ["ROOM", "Downloaded", "Progress", "download", "locked"]

_LONGEST_WAIT = 60.0  # seconds between two attempts; also the longest that a server may ask for


@dataclass(frozen=True)
class Downloaded:
    """A complete file.

    Args:
        path: of the file.
        sha256: its checksum in hexadecimal.
        size: in bytes.
        downloaded: bytes that this call transferred; 0 if the file existed already.
    """

    path: Path
    sha256: str
    size: int
    downloaded: int


def download(
    url: str,
    target: str | Path,
    sha256: str | None = None,
    *,
    size_limit: int = 8 * GIB,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    progress: Progress | None = None,
) -> Downloaded:
    """Download one file. `target` appears when it is complete and its checksum is right.

    Bytes go to `target.part`. A later call resumes it if the server confirms that the file is still
    the same (HTTP Range with If-Range), and starts over if it cannot. An existing target is kept if
    it has the checksum, or if no checksum is given. If several processes download the same target,
    one downloads and the others wait.

    Args:
        url: http, https or file.
        target: the file to write; its folder is created.
        sha256: expected checksum in hexadecimal; None: not checked.
        size_limit: largest accepted size in bytes.
        retries: attempts in a row that may fail without new bytes.
        timeout: seconds to wait for any one answer of the server.
        backoff: seconds before the second attempt; doubles with every further one.
        progress: called with the bytes so far, and the size of the file if known.

    Raises:
        InputError: with the url and a remedy: the server refuses, is unreachable or keeps failing;
            the checksum is wrong; the file is too large; the disk is full.
    """
    target = Path(target)
    _require_url(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if target.exists() and (sha256 is None or sha256_of(target) == sha256.lower()):
                digest = sha256.lower() if sha256 else sha256_of(target)
                return Downloaded(target, digest, target.stat().st_size, 0)
            transfer = Transfer(
                url, target, size_limit, timeout, progress, trusted=sha256 is not None
            )
            digest = _complete(transfer, sha256, _Retries(retries, backoff))
            size = transfer.part.stat().st_size
            with open(transfer.part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(transfer.part, target)
            transfer.discard()
            return Downloaded(target, digest, size, transfer.downloaded)
    except OSError as error:
        raise disk_error(error, target, ROOM) from None


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of `target` against other processes and threads.

    A holder that dies releases the lock.
    """
    with hold_lock(target.with_name(target.name + ".lock"), remove=True):
        yield


def _require_url(url: str) -> None:
    """Refuse a string that is not a url, or has a scheme that cannot be downloaded.

    Raises:
        InputError: another scheme than http, https and file; no host; characters to be escaped.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputError(f"not a url: {error}", place=url, remedy="check the url") from None
    if parts.scheme not in ("http", "https", "file"):
        raise InputError(
            f"cannot download from the scheme '{parts.scheme}'",
            place=url,
            remedy="use http, https or file",
        )
    printable = all(32 < ord(character) < 127 for character in url)
    if not printable or (parts.scheme != "file" and not parts.hostname):
        raise InputError(
            "not a url",
            place=url,
            remedy="a url needs a host; write special characters escaped, such as %20",
        )


def _complete(transfer: Transfer, sha256: str | None, retries: _Retries) -> str:
    """Transfer until the part is complete and its checksum is right; return its SHA-256.

    Raises:
        InputError: too many attempts failed, or the checksum is wrong.
    """
    while True:
        try:
            transfer.run()
        except Interrupted as interrupted:
            retries.wait(interrupted, transfer)
            continue
        digest = sha256_of(transfer.part)
        if sha256 is None or digest == sha256.lower():
            return digest
        transfer.discard()
        if not transfer.resumed:
            raise InputError(
                f"SHA-256 is {digest}, expected {sha256.lower()}",
                place=transfer.url,
                remedy="nothing was kept; the file has changed or was tampered with: "
                "compare with the publisher's checksum",
            )
        # The part may have been joined from two different files: download it once more, whole.
        transfer.resumed = False


class _Retries:
    """Count of the attempts in a row that brought no new bytes.

    Args:
        limit: how many may fail.
        backoff: seconds before the second attempt.
    """

    def __init__(self, limit: int, backoff: float) -> None:
        self.limit = limit
        self.backoff = backoff
        self.failures = 0
        self.farthest = 0  # bytes, the most that any attempt reached

    def wait(self, interrupted: Interrupted, transfer: Transfer) -> None:
        """Count a failed attempt, and sleep until the next one.

        Raises:
            InputError: more attempts have failed than allowed.
        """
        reached = transfer.size()
        self.failures = 1 if reached > self.farthest else self.failures + 1
        self.farthest = max(self.farthest, reached)
        if self.failures > self.limit:
            raise InputError(
                str(interrupted),
                place=transfer.url,
                remedy=f"tried {self.failures} times; run it again later: "
                f"the download resumes at {reached:,} bytes",
            ) from None
        seconds = self.backoff * 2 ** (self.failures - 1)
        time.sleep(min(seconds if interrupted.wait is None else interrupted.wait, _LONGEST_WAIT))
