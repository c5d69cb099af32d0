"""A PostgreSQL server from the programs that are installed, for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Missing", "serve"]


class Missing(Exception):
    """Why no server can be started here."""


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; some systems keep it off the path."""
    found = shutil.which("initdb")
    folders = (
        [Path(found).resolve().parent]
        if found
        else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next(
        (
            folder
            for folder in folders
            if (folder / "postgres").exists() and (folder / "initdb").exists()
        ),
        None,
    )


@contextlib.contextmanager
def serve(*, tcp: bool = False, fsync: bool = False) -> Iterator[str]:
    """URL of a server on a socket in a folder of its own, or on a free port of this machine.

    Raises:
        Missing: PostgreSQL or its driver is not installed, or it may not run as this user.
    """
    try:
        import psycopg
    except ImportError:
        raise Missing("psycopg is not installed") from None
    folder_of = programs()
    if folder_of is None:
        raise Missing("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg") as name, (Path(name) / "log").open("w") as log:
        if user is not None:
            try:
                shutil.chown(name, user)
            except LookupError:
                raise Missing(
                    "PostgreSQL does not run as root, and there is no user 'postgres'"
                ) from None
        command = [
            str(folder_of / "initdb"),
            "-D",
            name + "/data",
            "-U",
            "tester",
            "--auth=trust",
            "--no-sync",
        ]
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=name)
        options, url = (
            ["-k", name, "-c", "listen_addresses="],
            f"postgresql://tester@/postgres?host={name}",
        )
        if tcp:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            options, url = (
                ["-k", name, "-c", "listen_addresses=127.0.0.1", "-p", str(port)],
                f"postgresql://tester@127.0.0.1:{port}/postgres",
            )
        options += ["-c", f"fsync={'on' if fsync else 'off'}"]
        server = subprocess.Popen(
            [str(folder_of / "postgres"), "-D", name + "/data", *options],
            user=user,
            stdout=log,
            stderr=log,
            cwd=name,
        )
        try:
            for _ in range(200):
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(url).close()
                    break
                time.sleep(0.1)
            else:
                raise Missing(
                    f"PostgreSQL does not answer: {(Path(name) / 'log').read_text()[-300:]}"
                )
            yield url
        finally:
            server.send_signal(
                signal.SIGINT
            )  # fast: SIGTERM would wait until every client has gone, this process among them
            server.wait()
