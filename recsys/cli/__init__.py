"""The command line: the only place that prints. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from recsys.cli import audit, compare, data, models, recommend, run
from recsys.errors import InputError

__all__ = ["app", "main"]

app = typer.Typer(
    name="recsys",
    help="Implicit-feedback logs in; trained, honestly compared, deployable recommenders out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.command("models")(models.models)
app.command("check")(run.check)
app.command("run")(run.run)
app.command("evaluate")(run.evaluate)
app.command("compare")(compare.compare)
app.command("recommend")(recommend.recommend)
app.command("audit")(audit.audit)
app.command("verify")(run.verify)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("recsys"))
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")] = False) -> None:
    """Implicit-feedback logs in; trained, honestly compared, deployable recommenders out."""


def main() -> None:
    """Run the command line. A mistake of the user's is one line on standard error and exit code 2."""
    try:
        app()
    except InputError as error:
        _stop(str(error))
    except OSError as error:  # the disk, the network: nothing a traceback would help with
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        _stop(f"{error.filename}: {error.strerror}; check the path, its permissions and the space on the disk" if error.filename else str(error))
    except MemoryError:
        _stop("out of memory; use fewer items ([data] item_core), a smaller batch, or another method")
    except KeyboardInterrupt:
        sys.stderr.write("recsys: interrupted; a run goes on with `recsys run --resume RUN`\n")
        sys.exit(130)


def _stop(line: str) -> None:
    sys.stderr.write(f"recsys: {' '.join(line.split())}\n")
    sys.exit(2)
