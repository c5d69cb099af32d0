"""Downloads against a server on this machine that cuts, lies, stalls and overflows."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.catalog.downloads import download, locked
from recsys.errors import InputError
from recsys.files import disk_error

BODY = bytes(hashlib.shake_256(b"a file").digest(700_000))
SHA = hashlib.sha256(BODY).hexdigest()
OTHER = bytes(hashlib.shake_256(b"another file").digest(700_000))


@dataclass
class Page:
    body: bytes = BODY
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    if_range: bool = True  # whether If-Range is respected
    cuts: list[int] = field(
        default_factory=list
    )  # bytes to send before hanging up, one attempt each
    statuses: list[int] = field(default_factory=list)  # errors to answer first, one attempt each
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = True
    endless: bool = False
    pause: float = 0.0  # seconds between pieces
    stalls: int = 0  # attempts that are left hanging
    then: bytes | None = None  # the body, with another etag, after the first attempt
    asked: list[str | None] = field(default_factory=list)  # Range of each request


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        page = self.server.pages.get(self.path)
        if page is None:
            return self.send_error(404)
        page.asked.append(self.headers.get("Range"))
        if page.stalls:
            page.stalls -= 1
            self.close_connection = True
            return time.sleep(1.0)
        if page.statuses:
            self.send_response(page.statuses.pop(0))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body, start = page.body, 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, page.etag, page.modified) or not page.if_range
        if wanted and page.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        for name, value in {
            "ETag": page.etag,
            "Last-Modified": page.modified,
            **page.headers,
        }.items():
            if value:
                self.send_header(name, value)
        if page.length:
            self.send_header("Content-Length", str(len(body) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        end = start + page.cuts.pop(0) if page.cuts else len(body)
        self.close_connection = end < len(body) or not page.length
        with contextlib.suppress(ConnectionError):
            for at in range(start, min(end, len(body)), 50_000):
                self.wfile.write(body[at : min(at + 50_000, end)])
                time.sleep(page.pause)
            while page.endless:
                self.wfile.write(b"\0" * 65_536)
        if page.then is not None:
            page.body, page.etag, page.then = page.then, '"v2"' if page.etag else None, None
        return None


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Page] = {}

    def handle_error(self, request, client_address):
        pass

    def serve(self, path: str = "/file.bin", **settings) -> tuple[str, Page]:
        self.pages[path] = Page(**settings)
        return f"http://127.0.0.1:{self.server_address[1]}{path}", self.pages[path]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def site(running, monkeypatch) -> Server:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running.pages.clear()
    return running


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_whole_file_arrives_and_nothing_else_stays(site, tmp_path):
    url, page = site.serve()
    seen = []
    got = download(
        url,
        tmp_path / "deep" / "file.bin",
        SHA.upper(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert got.path.read_bytes() == BODY
    assert (got.sha256, got.size, got.downloaded) == (SHA, len(BODY), len(BODY))
    assert files(tmp_path / "deep") == ["file.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert page.asked == [None]


def test_present_file_is_not_fetched_again(site, tmp_path):
    url, page = site.serve()
    target = tmp_path / "file.bin"
    target.write_bytes(BODY)
    assert download(url, target, SHA).downloaded == 0
    assert download(url, target).sha256 == SHA
    assert page.asked == []


def test_present_file_with_wrong_checksum_is_replaced(site, tmp_path):
    url, _ = site.serve()
    target = tmp_path / "file.bin"
    target.write_bytes(OTHER)
    assert download(url, target, SHA).downloaded == len(BODY)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    "validator", [{"etag": '"v1"'}, {"etag": None, "modified": "Tue, 01 Nov 2022 00:00:00 GMT"}]
)
def test_cut_connection_is_resumed(site, tmp_path, validator):
    url, page = site.serve(cuts=[120_000, 200_000], **validator)
    got = download(url, tmp_path / "f", backoff=0.01)
    assert got.path.read_bytes() == BODY
    assert page.asked == [None, "bytes=120000-", "bytes=320000-"]
    assert got.downloaded == len(BODY)


def test_server_without_ranges_starts_over(site, tmp_path):
    url, page = site.serve(cuts=[300_000], ranges=False)
    assert download(url, tmp_path / "f", backoff=0.01).path.read_bytes() == BODY
    assert page.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_pieces_are_joined_only_under_a_checksum(site, tmp_path, etag):
    url, page = site.serve(cuts=[300_000], etag=etag)
    assert download(url, tmp_path / "f", backoff=0.01).path.read_bytes() == BODY
    assert page.asked == [None, None]
    url, page = site.serve(cuts=[300_000], etag=etag)
    assert download(url, tmp_path / "g", SHA, backoff=0.01).path.read_bytes() == BODY
    assert page.asked == [None, "bytes=300000-"]


def test_file_that_changes_between_attempts_is_never_a_mixture(site, tmp_path):
    url, page = site.serve(cuts=[300_000], then=OTHER)
    assert download(url, tmp_path / "f", backoff=0.01).path.read_bytes() == OTHER
    assert page.asked == [None, "bytes=300000-"]
    # A server that goes on regardless is found out by the new ETag in its answer ...
    url, page = site.serve(cuts=[300_000], then=OTHER, if_range=False)
    assert download(url, tmp_path / "g", backoff=0.01).path.read_bytes() == OTHER
    assert page.asked == [None, "bytes=300000-", None]
    # ... and without one by the checksum.
    url, page = site.serve(cuts=[300_000], then=OTHER, etag=None)
    assert (
        download(
            url, tmp_path / "h", hashlib.sha256(OTHER).hexdigest(), backoff=0.01
        ).path.read_bytes()
        == OTHER
    )
    assert page.asked == [None, "bytes=300000-", None]


def test_part_of_another_url_is_not_built_on(site, tmp_path):
    first, _ = site.serve("/one", cuts=[300_000] * 9, body=OTHER, ranges=False)
    with pytest.raises(InputError, match="connection broke"):
        download(first, tmp_path / "f", retries=1, backoff=0.01)
    second, page = site.serve("/two")
    assert download(second, tmp_path / "f").path.read_bytes() == BODY
    assert page.asked == [None]


def test_complete_part_needs_no_more_bytes(site, tmp_path):
    url, page = site.serve(cuts=[300_000] * 9, ranges=False)
    with pytest.raises(InputError):
        download(url, tmp_path / "f", retries=0)
    (tmp_path / "f.part").write_bytes(BODY)
    page.ranges, page.cuts = True, []
    assert download(url, tmp_path / "f").path.read_bytes() == BODY
    assert page.asked[-1] == f"bytes={len(BODY)}-"


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 400_000), max_size=5),
    ranges=st.booleans(),
    etag=st.sampled_from([None, '"v"']),
    known=st.booleans(),
)
def test_any_sequence_of_cuts_gives_the_same_bytes(
    running, tmp_path_factory, cuts, ranges, etag, known
):
    folder = tmp_path_factory.mktemp("cuts")
    url, _ = running.serve("/cuts", cuts=list(cuts), ranges=ranges, etag=etag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        got = download(url, folder / "f", SHA if known else None, retries=6, backoff=0.0)
    assert got.path.read_bytes() == BODY
    assert files(folder) == ["f"]
    shutil.rmtree(folder)


def test_wrong_checksum_keeps_nothing(site, tmp_path):
    url, page = site.serve()
    with pytest.raises(InputError, match=f"SHA-256 is {SHA}, expected {'0' * 64}") as caught:
        download(url, tmp_path / "f", "0" * 64)
    assert caught.value.place == url
    assert caught.value.remedy
    assert files(tmp_path) == []
    assert page.asked == [None]


@pytest.mark.parametrize(
    ("status", "word"), [(404, "moved"), (403, "login"), (401, "login"), (410, "check the url")]
)
def test_refusals_are_final(site, tmp_path, status, word):
    url, page = site.serve(statuses=[status])
    with pytest.raises(InputError, match=str(status)) as caught:
        download(url, tmp_path / "f")
    assert word in caught.value.remedy
    assert len(page.asked) == 1
    assert files(tmp_path) == []


def test_passing_troubles_are_tried_again(site, tmp_path):
    url, page = site.serve(statuses=[500, 503, 429], headers={"Retry-After": "0"})
    assert download(url, tmp_path / "f", backoff=0.01).path.read_bytes() == BODY
    assert len(page.asked) == 4


def test_lasting_trouble_ends(site, tmp_path):
    url, page = site.serve(statuses=[500] * 9)
    with pytest.raises(InputError, match="500") as caught:
        download(url, tmp_path / "f", retries=2, backoff=0.01)
    assert "3 times" in caught.value.remedy
    assert len(page.asked) == 3


def test_attempts_that_bring_something_new_do_not_count(site, tmp_path):
    url, page = site.serve(cuts=[100_000] * 6)
    assert download(url, tmp_path / "f", retries=1, backoff=0.0).path.read_bytes() == BODY
    assert len(page.asked) == 7


def test_server_that_falls_silent(site, tmp_path):
    url, page = site.serve(stalls=1)
    assert download(url, tmp_path / "f", timeout=0.2, backoff=0.01).path.read_bytes() == BODY
    assert len(page.asked) == 2


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    url = f"http://127.0.0.1:{server.server_address[1]}/f"
    server.server_close()
    with pytest.raises(InputError, match="no connection"):
        download(url, tmp_path / "f", retries=1, backoff=0.01)


def test_endless_body_stops_at_the_bound(site, tmp_path):
    url, _ = site.serve(body=b"", length=False, endless=True, etag=None)
    with pytest.raises(InputError, match="larger than the limit of 1,000,000 bytes"):
        download(url, tmp_path / "f", size_limit=1_000_000)
    assert files(tmp_path) == []


def test_announced_size_beyond_the_bound_is_not_read(site, tmp_path):
    url, _ = site.serve()
    seen = []
    with pytest.raises(InputError, match="larger than the limit"):
        download(
            url,
            tmp_path / "f",
            size_limit=len(BODY) - 1,
            progress=lambda done, total: seen.append(done),
        )
    assert seen == []
    assert download(url, tmp_path / "f", size_limit=len(BODY)).size == len(BODY)


def test_body_without_length(site, tmp_path):
    url, _ = site.serve(length=False)
    assert download(url, tmp_path / "f").path.read_bytes() == BODY


def test_redirection_is_followed_and_ranges_with_it(site, tmp_path):
    target, page = site.serve("/target", cuts=[300_000])
    url, _ = site.serve("/from", statuses=[302, 302], headers={"Location": target})
    assert download(url, tmp_path / "f", backoff=0.01).path.read_bytes() == BODY
    assert page.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("away", ["ftp://127.0.0.1/f", "file:///etc/hostname"])
def test_redirection_to_another_scheme_is_refused(site, tmp_path, away):
    url, _ = site.serve(statuses=[302], headers={"Location": away})
    with pytest.raises(InputError):
        download(url, tmp_path / "f")
    assert files(tmp_path) == []


def test_redirection_in_a_circle_ends(site, tmp_path):
    url, page = site.serve(statuses=[302] * 50)
    page.headers["Location"] = url
    with pytest.raises(InputError):
        download(url, tmp_path / "f")


def test_web_page_in_place_of_data(site, tmp_path):
    url, _ = site.serve(
        body=b"<html>please log in</html>", headers={"Content-Type": "text/html; charset=utf-8"}
    )
    with pytest.raises(InputError, match="web page"):
        download(url, tmp_path / "data.zip")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/f",
        "data:text/plain,x",
        "f.zip",
        "http://",
        "http:///f",
        "http://host/a b",
        "http://[::1/f",
        "gopher://x/",
    ],
)
def test_what_is_no_url(tmp_path, url):
    with pytest.raises(InputError) as caught:
        download(url, tmp_path / "f")
    assert caught.value.place == url
    assert files(tmp_path) == []


def test_file_urls(tmp_path):
    source = tmp_path / "a source.bin"
    source.write_bytes(BODY)
    assert download(source.as_uri(), tmp_path / "f", SHA).path.read_bytes() == BODY
    with pytest.raises(InputError, match="larger than"):
        download(source.as_uri(), tmp_path / "g", size_limit=10)
    with pytest.raises(InputError, match="No such file"):
        download((tmp_path / "nothing").as_uri(), tmp_path / "g")
    with pytest.raises(InputError):
        download("file://elsewhere/f", tmp_path / "g")
    assert files(tmp_path) == ["a source.bin", "f"]


def test_full_disk(site, tmp_path, monkeypatch):
    url, _ = site.serve()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match="1 are free"):
        download(url, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert (
        "full" in disk_error(OSError(errno.ENOSPC, "No space left on device", "x"), tmp_path).cause
    )


def test_target_that_cannot_be_written(site, tmp_path):
    url, _ = site.serve()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        download(url, tmp_path / "file" / "f")


def test_of_several_threads_one_downloads(site, tmp_path):
    url, page = site.serve(pause=0.005)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(download(url, tmp_path / "f").downloaded))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0] * 5 + [len(BODY)]
    assert page.asked == [None]
    assert files(tmp_path) == ["f"]


CHILD = """
import sys
from recsys.data.catalog.downloads import download
print(download(*sys.argv[1:]).downloaded)
"""


def child(*arguments: str) -> subprocess.Popen:
    environment = {
        **os.environ,
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_downloads(site, tmp_path):
    url, page = site.serve(pause=0.02)
    both = [child(url, str(tmp_path / "f"), SHA) for _ in range(2)]
    said = sorted(int(process.communicate(timeout=30)[0]) for process in both)
    assert said == [0, len(BODY)]
    assert page.asked == [None]


def test_killed_in_the_middle_leaves_no_target_and_goes_on(site, tmp_path):
    url, page = site.serve(pause=0.2)
    target, part = tmp_path / "f", tmp_path / "f.part"
    process = child(url, str(target))
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = part.stat().st_size
    assert 0 < kept < len(BODY)
    assert not target.exists()
    page.pause = 0.0
    got = download(url, target)  # the lock of the dead does not hold
    assert target.read_bytes() == BODY
    assert page.asked == [None, f"bytes={kept}-"]
    assert got.downloaded == len(BODY) - kept
    assert files(tmp_path) == ["f"]


def test_lock_excludes(tmp_path):
    order = []

    def second():
        with locked(tmp_path / "f"):
            order.append("second")

    with locked(tmp_path / "f"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert files(tmp_path) == []
