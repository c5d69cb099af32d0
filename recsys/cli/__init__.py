"""The command line: the only place that prints. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from recsys.cli import (
    audit,
    benchmark,
    compare,
    data,
    export,
    models,
    noise,
    recommend,
    report,
    run,
    tune,
)
from recsys.errors import InputError

__all__ = ["app", "main"]

# The mark at the beginning keeps the lines as they are.
_VARIABLES = """\b
Environment variables:
  RECSYS_HOME         folder of downloads (data) and of your own entries (catalog);
                      else ~/.cache/recsys and ~/.config/recsys
  RECSYS_OFFLINE      1 forbids downloads
  RECSYS_SHARED_DATA  folder of data sets that the tests of the project may read
"""

app = typer.Typer(
    name="recsys",
    help="Implicit-feedback logs in; trained, honestly compared, deployable recommenders out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    epilog=_VARIABLES,
)
app.add_typer(data.app, name="data")
app.command("models")(models.models)
app.command("check")(run.check)
app.command("run")(run.run)
app.command("evaluate")(run.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("recommend")(recommend.recommend)
app.command("export")(export.export)
app.command("audit")(audit.audit)
app.command("verify")(run.verify)
app.command("noise")(noise.noise)
app.add_typer(tune.app, name="tune")
app.command("benchmark")(benchmark.benchmark)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("recsys"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Implicit-feedback logs in; trained, honestly compared, deployable recommenders out."""


# What typer raises when the words of a command do not fit it; it gives out only a child of it by name.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line. A mistake of the user's is one line on standard error and exit code 2."""
    try:
        code = app(prog_name="recsys", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _stop(str(error))
    except _UsageError as error:
        _misused(error)
    except OSError as error:  # the disk, the network: nothing a traceback would help with
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        _stop(
            f"{error.filename or 'output'}: {error.strerror or error}; check the path, its permissions and the space on the disk"
        )
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _stop(
            "out of memory; use fewer items ([data] item_core), a smaller model or batch, or another method"
        )
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        sys.stderr.write("recsys: interrupted; a run goes on with `recsys run --resume RUN`\n")
    sys.exit(code or 0)


def _misused(error: Any) -> NoReturn:
    """A command, option or argument that is none; called without any command, help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "recsys"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(2)
    said = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    _stop(f"{said[0].lower()}{said[1:]}; see {command} --help")


def _out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch says so in words."""
    words = (
        "not enough memory",
        "can't allocate memory",
        "out of memory",
        "Storage size calculation overflowed",
    )
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _stop(line: str) -> NoReturn:
    sys.stderr.write(f"recsys: {' '.join(line.split())}\n")
    sys.exit(2)
