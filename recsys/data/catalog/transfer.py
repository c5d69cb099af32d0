"""The transfer of one file over HTTP: one attempt at a time, resumed where the server allows it.

The server is not trusted: sizes are bounded while bytes arrive, not by what a header claims.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys.errors import InputError

__all__ = ["CHUNK", "GIB", "ROOM", "Interrupted", "Progress", "Transfer"]

GIB = 1 << 30
CHUNK = 1 << 18  # bytes read at a time
ROOM = "make room, or set RECSYS_HOME to a folder on another disk"
_AGENT = "recsys (https://pypi.org/project/recsys)"
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_REMEDIES = {
    401: "it needs a login: download it by hand",
    403: "it may need a login: download it by hand",
    404: "it has moved: look for it on the home page of the data set",
}

Progress = Callable[[int, int | None], None]  # bytes so far, and bytes in total if known


class Interrupted(Exception):
    """An attempt failed in a way that another attempt may not.

    Args:
        cause: what went wrong.
        wait: seconds that the server asks to wait; None: it does not ask.
    """

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


class Transfer:
    """A file on its way: the part on disk, its origin, and how to get the rest.

    `TARGET.part` holds the bytes so far. `TARGET.part.json` holds the url and the validator (ETag
    or date) of the file that they belong to.

    Args:
        url: http, https or file.
        target: the file to write in the end.
        limit: largest accepted size in bytes.
        timeout: seconds to wait for any one answer of the server.
        progress: called with the bytes so far, and the size of the file if known.
        trusted: a checksum is known, which will show whether two pieces belong together.
    """

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
        self.url = url
        self.limit = limit
        self.timeout = timeout
        self.progress = progress or (lambda done, total: None)
        self.trusted = trusted
        self.part = target.with_name(target.name + ".part")
        self.about = target.with_name(target.name + ".part.json")
        self.resumed = False  # the part was continued at least once
        self.downloaded = 0  # bytes that crossed the network

    def size(self) -> int:
        """Return the bytes of the part."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Delete the part."""
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def run(self) -> None:
        """Request the missing bytes and append them.

        Raises:
            Interrupted: another attempt may succeed.
            InputError: no other attempt will.
        """
        have, validator = self._usable()
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
            raise self._unreachable(error) from None
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _broken(error) from None  # before the headers were complete

    def _usable(self) -> tuple[int, str | None]:
        """Return the bytes of the part that can be continued, and the validator of their file."""
        have = self.size()
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            same_url = about["url"] == self.url
            validator = about["validator"] if same_url else None
        except (OSError, ValueError, KeyError, TypeError):  # damaged is as good as missing
            same_url, validator = False, None
        if have and same_url and (validator or self.trusted):
            return have, validator
        self.discard()
        return 0, None

    def _receive(self, answer: Any, have: int, known: str | None) -> None:
        """Append the body of an answer to the part.

        Args:
            answer: of urllib.
            have: bytes of the part.
            known: validator of the part, None if not known.

        Raises:
            Interrupted: the connection broke, or the bytes do not continue the part.
            InputError: a web page, a file that is too large, or a disk that is too small.
        """
        is_page = answer.headers.get_content_type() == "text/html"
        if is_page and not self.url.lower().endswith((".html", ".htm")):
            raise InputError(
                "the server sent a web page, not the data",
                place=self.url,
                remedy="open it in a browser: it may want a login",
            )
        validator = _validator(answer)
        continues = answer.status == 206
        if continues:
            start, total = _content_range(answer)
            if start != have or (known and validator and validator != known):
                self.discard()
                raise Interrupted("the server sent bytes of another file or position than asked")
            self.resumed = True
            validator = validator or known
        else:  # a new file, or the server cannot resume: the new validator is not of the old part
            start, total = 0, _length(answer)
            self.discard()
        self._require_room(start, total)
        self.about.write_text(
            json.dumps({"url": self.url, "validator": validator}), encoding="utf-8"
        )
        done = self._append(answer, start, total, "ab" if continues else "wb")
        if total is not None and done < total:
            raise Interrupted(f"the connection broke after {done:,} of {total:,} bytes")
        if total is not None and done > total:
            self.discard()
            raise Interrupted(f"{done:,} bytes came, {total:,} were announced")

    def _append(self, answer: Any, start: int, total: int | None, mode: str) -> int:
        """Write the body of an answer, and return the bytes of the part.

        Raises:
            InputError: the body is longer than the limit.
        """
        done = start
        with open(self.part, mode) as file:
            while chunk := _read(answer):
                done += len(chunk)
                self.downloaded += len(chunk)
                if done > self.limit:
                    break
                file.write(chunk)
                self.progress(done, total)
        if done > self.limit:
            self.discard()
            raise self._too_large("the server sends more")
        return done

    def _require_room(self, start: int, total: int | None) -> None:
        """Refuse a file that is larger than the limit or than the free space.

        Raises:
            InputError: it is.
        """
        if total is None:
            return
        if total > self.limit:
            raise self._too_large(f"{total:,} bytes")
        free = shutil.disk_usage(self.part.parent).free
        if total - start > free:
            raise InputError(
                f"needs {total - start:,} bytes, {free:,} are free",
                place=str(self.part.parent),
                remedy=ROOM,
            )

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        """Handle a status of failure; return if the part is complete already.

        Raises:
            Interrupted: another attempt may succeed.
            InputError: no other attempt will.
        """
        if error.code == 416 and have:  # no bytes after these: the part is complete, or outdated
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                self.resumed = True
                return
            self.discard()
            raise Interrupted("the server cannot continue the part of an earlier attempt")
        cause = f"the server answers {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise Interrupted(cause, _seconds(error.headers.get("Retry-After"))) from None
        remedy = _REMEDIES.get(error.code, "check the url")
        raise InputError(cause, place=self.url, remedy=remedy) from None

    def _unreachable(self, error: urllib.error.URLError) -> Exception:
        """Return the error for a server or file that does not answer."""
        if self.url.startswith("file:"):
            cause = getattr(error.reason, "strerror", None) or error.reason
            return InputError(f"cannot be read: {cause}", place=self.url, remedy="check the path")
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return InputError(
                f"the server's certificate is not valid: {error.reason}",
                place=self.url,
                remedy="check clock and url",
            )
        return Interrupted(f"no connection: {error.reason}")

    def _too_large(self, size: str) -> InputError:
        return InputError(
            f"larger than the limit of {self.limit:,} bytes ({size})",
            place=self.url,
            remedy="raise the limit if you expect a file of this size",
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections: only to http and https, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follow a redirection if it is allowed.

        Raises:
            InputError: it is not.
        """
        before = urllib.parse.urlsplit(req.full_url).scheme
        after = urllib.parse.urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after == "http"):
            raise InputError(
                f"redirected to {newurl}",
                place=req.full_url,
                remedy=f"from {before} to {after or 'nowhere'} is not followed; check the url",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Local(urllib.request.FileHandler):
    """Urls of local files, with the status that an answer over HTTP has."""

    def file_open(self, req: urllib.request.Request) -> Any:
        """Open the file of a url."""
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
    """Return the next bytes of a body, empty at its end.

    Raises:
        Interrupted: the connection broke.
    """
    try:
        data: bytes = answer.read(CHUNK)
    except http.client.IncompleteRead as error:
        data = error.partial
        if not data:
            raise _broken(error) from None
    except (http.client.HTTPException, OSError) as error:
        raise _broken(error) from None
    return data


def _broken(error: Exception) -> Interrupted:
    return Interrupted(f"the connection broke: {str(error) or type(error).__name__}")


def _validator(answer: Any) -> str | None:
    """Return the strong ETag of an answer, or else its date of modification."""
    etag: str | None = answer.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    date: str | None = answer.headers.get("Last-Modified")
    return date


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length") or ""
    return int(text) if text.isdigit() else None


def _content_range(answer: Any) -> tuple[int, int | None]:
    """Return the first byte and the total of a header such as `bytes 5-9/10`; -1 if unreadable."""
    unit, _, rest = (answer.headers.get("Content-Range") or "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(total) if total.isdigit() else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None
