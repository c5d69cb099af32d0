"""Files from the network to the disk, whole or not at all.

What arrives is not trusted: sizes are bounded while bytes arrive, not by what a header claims.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.files import disk_error, hold_lock, sha256_of

__all__ = ["Fetched", "fetch", "locked"]

GIB = 1 << 30
CHUNK = 1 << 18
_AGENT = "recsys (https://pypi.org/project/recsys)"
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
ROOM = "make room, or set RECSYS_HOME to a folder on another disk"
_REMEDIES = {
    401: "it needs a login: download it by hand",
    403: "it may need a login: download it by hand",
    404: "it has moved: look for it on the home page of the data set",
}
_LONGEST_WAIT = 60.0  # seconds; also the most a server may ask for

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived.

    Args:
        path: where it is.
        sha256: its checksum.
        size: bytes.
        downloaded: bytes that crossed the network for it in this call; 0 where it was there already.
    """

    path: Path
    sha256: str
    size: int
    downloaded: int


class _Again(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


def fetch(
    url: str,
    target: str | Path,
    sha256: str | None = None,
    *,
    size_limit: int = 8 * GIB,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 0.5,
    progress: Progress | None = None,
) -> Fetched:
    """Download one file. `target` appears when it is complete and its checksum right, never before.

    Bytes go to `target.part`; a later call goes on from there if the server says the file is still the same one (HTTP
    Range with If-Range), and starts over if it cannot say so. A target that is there already is kept if it has the
    checksum, or if none is given. Of several processes that fetch the same target, one downloads and the others wait.

    Args:
        url: http, https or file.
        target: the file to write; its folder is made.
        sha256: expected checksum in hexadecimal.
        size_limit: most bytes that will be accepted.
        retries: attempts in a row that may fail without bringing anything new; waits double from `backoff` seconds.
        timeout: seconds to wait for the server at any one time.
        progress: called with bytes so far and bytes in all (None where unknown).

    Raises:
        InputError: with the url and a remedy: the server refuses, is unreachable or keeps failing, the checksum is
            wrong, the file is too large, the disk is full.
    """
    target = Path(target)
    _check(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if target.exists() and (sha256 is None or sha256_of(target) == sha256.lower()):
                return Fetched(
                    target,
                    sha256.lower() if sha256 else sha256_of(target),
                    target.stat().st_size,
                    0,
                )
            return _download(
                url,
                target,
                sha256,
                _Attempt(url, target, size_limit, timeout, progress, trusted=sha256 is not None),
                retries,
                backoff,
            )
    except OSError as error:
        raise disk_error(error, target, ROOM) from None


def _check(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputError(f"not a url: {error}", place=url, remedy="check the url") from None
    if parts.scheme not in ("http", "https", "file"):
        raise InputError(
            f"'{parts.scheme}' is no scheme to fetch from",
            place=url,
            remedy="use http, https or file",
        )
    if (parts.scheme != "file" and not parts.hostname) or any(
        ord(c) <= 32 or ord(c) > 126 for c in url
    ):
        raise InputError(
            "not a url",
            place=url,
            remedy="it needs a host, and other characters than letters, digits and marks written as %20",
        )


def _download(
    url: str, target: Path, sha256: str | None, attempt: _Attempt, retries: int, backoff: float
) -> Fetched:
    failures, farthest = 0, 0
    while True:
        try:
            attempt.run()
        except _Again as again:
            reached = attempt.size()
            failures = 1 if reached > farthest else failures + 1
            farthest = max(farthest, reached)
            if failures > retries:
                raise InputError(
                    str(again),
                    place=url,
                    remedy=f"tried {failures} times; run it again later: it goes on from {reached:,} bytes",
                ) from None
            time.sleep(
                min(
                    backoff * 2 ** (failures - 1) if again.wait is None else again.wait,
                    _LONGEST_WAIT,
                )
            )
            continue
        found = sha256_of(attempt.part)
        if sha256 is None or found == sha256.lower():
            break
        attempt.discard()
        if attempt.joined:  # pieces of two different files, perhaps: once more, in one piece
            attempt.joined = False
            continue
        raise InputError(
            f"SHA-256 is {found}, expected {sha256.lower()}",
            place=url,
            remedy="nothing was kept; the file has changed or was tampered with: compare with the publisher's checksum",
        )
    size = attempt.part.stat().st_size
    with open(attempt.part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(attempt.part, target)
    attempt.discard()
    return Fetched(target, found, size, attempt.downloaded)


class _Attempt:
    """One file on its way: the part on the disk, what it is a part of, and how to get more of it."""

    def __init__(
        self,
        url: str,
        target: Path,
        limit: int,
        timeout: float,
        progress: Progress | None,
        *,
        trusted: bool,
    ) -> None:
        self.url, self.limit, self.timeout, self.progress = (
            url,
            limit,
            timeout,
            progress or (lambda done, total: None),
        )
        self.trusted = trusted  # a checksum will tell whether two pieces belong together
        self.part = target.with_name(target.name + ".part")
        self.about = target.with_name(target.name + ".part.json")
        self.joined = False
        self.downloaded = 0

    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def run(self) -> None:
        """Ask for what is missing and append it.

        Raises:
            _Again: it may work another time.
            InputError: it will not.
        """
        have, validator = self._kept()
        request = urllib.request.Request(
            self.url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        )
        if have:
            request.add_header("Range", f"bytes={have}-")
            if validator:
                request.add_header("If-Range", validator)
        try:
            with _opener().open(request, timeout=self.timeout) as answer:
                self._receive(answer, have, validator)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
        except urllib.error.URLError as error:
            if self.url.startswith("file:"):
                said = getattr(error.reason, "strerror", None) or error.reason
                raise InputError(
                    f"cannot be read: {said}", place=self.url, remedy="check the path"
                ) from None
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise InputError(
                    f"the server's certificate is not valid: {error.reason}",
                    place=self.url,
                    remedy="check clock and url",
                ) from None
            raise _Again(f"no connection: {error.reason}") from None
        except (
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
        ) as error:  # before the headers were through
            raise _broken(error) from None

    def _kept(self) -> tuple[int, str | None]:
        """Bytes that may be built on, and what the server called the file they are from."""
        have = self.size()
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            known = about["url"] == self.url
            validator = about["validator"] if known else None
        except (OSError, ValueError, KeyError, TypeError):
            known, validator = False, None
        if have and known and (validator or self.trusted):
            return have, validator
        self.discard()
        return 0, None

    def _receive(self, answer: Any, have: int, known: str | None) -> None:
        if answer.headers.get_content_type() == "text/html" and not self.url.lower().endswith(
            (".html", ".htm")
        ):
            raise InputError(
                "the server sent a web page, not the data",
                place=self.url,
                remedy="open it in a browser: it may want a login",
            )
        etag = answer.headers.get("ETag")
        validator = (
            etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        )
        resumed = answer.status == 206
        if resumed:
            start, total = _content_range(answer)
            if start != have or (known and validator and validator != known):
                self.discard()
                raise _Again("the server sent bytes of another file or place than those asked for")
            self.joined, validator = True, validator or known
        else:  # a new file, or the server cannot go on: first of all, drop what the new validator does not vouch for
            start, total = 0, _length(answer)
            self.discard()
        if total is not None and total > self.limit:
            raise self._too_large(f"{total:,} bytes")
        if total is not None and total - start > (free := shutil.disk_usage(self.part.parent).free):
            raise InputError(
                f"needs {total - start:,} bytes, {free:,} are free",
                place=str(self.part.parent),
                remedy=ROOM,
            )
        self.about.write_text(
            json.dumps({"url": self.url, "validator": validator}), encoding="utf-8"
        )
        done = start
        with open(self.part, "ab" if resumed else "wb") as file:
            while chunk := _read(answer):
                done += len(chunk)
                self.downloaded += len(chunk)
                if done > self.limit:
                    break
                file.write(chunk)
                self.progress(done, total)
        if done > self.limit:
            self.discard()
            raise self._too_large("the file does not end")
        if total is not None and done < total:
            raise _Again(f"the connection broke after {done:,} of {total:,} bytes")
        if total is not None and done > total:
            self.discard()
            raise _Again(f"{done:,} bytes came, {total:,} were announced")

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        if (
            error.code == 416 and have
        ):  # nothing after what is here: it is whole, or it is of another file
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                self.joined = True
                return
            self.discard()
            raise _Again("the server cannot go on from the part that is here")
        if error.code in _TRANSIENT:
            raise _Again(
                f"the server answers {error.code} {error.reason}",
                _seconds(error.headers.get("Retry-After")),
            ) from None
        raise InputError(
            f"the server answers {error.code} {error.reason}",
            place=self.url,
            remedy=_REMEDIES.get(error.code, "check the url"),
        ) from None

    def _too_large(self, how: str) -> InputError:
        return InputError(
            f"larger than the limit of {self.limit:,} bytes ({how})",
            place=self.url,
            remedy="raise the limit if that is meant to be",
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to http and https only, and never from https down to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = (
            urllib.parse.urlsplit(req.full_url).scheme,
            urllib.parse.urlsplit(newurl).scheme,
        )
        if after not in ("http", "https") or (before == "https" and after == "http"):
            raise InputError(
                f"redirected to {newurl}",
                place=req.full_url,
                remedy=f"from {before} to {after or 'nowhere'} is not followed; check the url",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Local(urllib.request.FileHandler):
    """file: urls of this machine, with the status that an answer over HTTP has."""

    def file_open(self, req: urllib.request.Request) -> Any:
        answer: Any = self.open_local_file(req)
        answer.code = 200
        return answer


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
        _Local,
    )
    for handler in handlers:
        opener.add_handler(handler())
    return opener


def _read(answer: Any) -> bytes:
    try:
        data: bytes = answer.read(CHUNK)
    except http.client.IncompleteRead as error:
        data = error.partial
        if not data:
            raise _broken(error) from None
    except (http.client.HTTPException, OSError) as error:
        raise _broken(error) from None
    return data


def _broken(error: Exception) -> _Again:
    return _Again(f"the connection broke: {str(error) or type(error).__name__}")


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length") or ""
    return int(text) if text.isdigit() else None


def _content_range(answer: Any) -> tuple[int, int | None]:
    """First byte and length in all of `bytes 5-9/10`."""
    unit, _, rest = (answer.headers.get("Content-Range") or "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(total) if total.isdigit() else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold `target` against other processes and threads; a holder that dies lets go."""
    with hold_lock(target.with_name(target.name + ".lock"), remove=True):
        yield
