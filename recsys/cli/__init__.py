"""The command line, the only part that prints.

Each command imports what it needs when it runs, so that help appears at once.

    run                 `recsys check`, `run`, `evaluate`, `verify`.
    tune                `recsys tune`, `tune show`.
    benchmark           `recsys benchmark`.
    init                `recsys init`.
    compare             `recsys compare`.
    compare_methods     Methods on data without a TOML file.
    starting            The experiment that a command line asks for.
    report              `recsys report`.
    recommend           `recsys recommend`.
    recommend_options   Its options.
    recommend_notes     Notes about queries and items that the model cannot place.
    recommend_progress  Progress of a job of recommendations.
    interruption        Interrupted commands: SIGTERM, and how each command goes on.
    export              `recsys export`.
    audit               `recsys audit`.
    noise               `recsys noise`.
    models              `recsys models`.
    data                `recsys data list`, `show`, `fetch`, `stats`.
    data_stats          The lines of `recsys data stats`.
    data_entry          `recsys data add`.
    data_features       `recsys data features`.
    demo                `make demo`.
    show                Results and progress in a terminal.
    exit_codes          Exit codes apart from 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn, Protocol, runtime_checkable

import typer

from recsys.cli import (
    audit,
    benchmark,
    compare,
    data,
    data_entry,
    data_features,
    export,
    init,
    models,
    noise,
    recommend,
    report,
    run,
    tune,
)
from recsys.cli.exit_codes import BROKEN_PIPE, INTERRUPTED, MISTAKE, RETRY, TERMINATED
from recsys.cli.interruption import Terminated, how_it_goes_on
from recsys.errors import InputError, RetryError, is_out_of_memory
from recsys.files import disk_error

__all__ = ["app", "main"]

_PURPOSE = "recsys trains, compares and serves top-N recommenders from clicks and purchases."

# \b at the beginning keeps the line breaks.
_VARIABLES = """\b
Environment variables:
  RECSYS_HOME         folder of downloads (data) and of your own entries (catalog);
                      default: ~/.cache/recsys and ~/.config/recsys
  RECSYS_OFFLINE      1 forbids downloads
  RECSYS_SHARED_DATA  folder of data sets that the tests of the project may read
"""

app = typer.Typer(
    name="recsys",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    epilog=_VARIABLES,
)
data.app.command("add")(data_entry.add)
data.app.command("features")(data_features.features)
app.add_typer(data.app, name="data")
app.command("models")(models.models)
app.command("check")(run.check)
app.command("run")(run.run)
app.command("init")(init.init)
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


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(version("recsys"))
        raise typer.Exit


@app.callback(help=_PURPOSE)
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Handle the options that go before a command."""


class _Context(Protocol):
    """The command that was being read when a usage error occurred."""

    @property
    def command_path(self) -> str: ...


@runtime_checkable
class _UsageError(Protocol):
    """An error in the use of a command: an unknown option, or a missing or invalid argument.

    Typer has no public name for the common base of these errors, so they are recognised by their
    members.
    """

    ctx: _Context | None

    def format_message(self) -> str: ...

    def show(self) -> None: ...


def main() -> None:
    """Run the command line.

    A mistake of the user is reported as one line on standard error, with exit code 2; a full disk,
    a folder in use and the like with exit code 75, as the same command may succeed later.
    """
    try:
        code = app(prog_name="recsys", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _stop(str(error), RETRY if isinstance(error, RetryError) else MISTAKE)
    except OSError as error:  # of the disk or the network: a traceback would not help
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(BROKEN_PIPE)
        _stop(
            f"{error.filename or 'output'}: {error.strerror or error}; "
            "check the path, its permissions and the space on the disk",
            RETRY if isinstance(disk_error(error, Path()), RetryError) else MISTAKE,
        )
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    except Exception as error:
        if isinstance(error, _UsageError):
            _report_usage(error)
        if not is_out_of_memory(error):
            raise
        _stop(
            "out of memory; use fewer items ([data] item_core), a smaller model or batch, "
            "or another method"
        )
    if code in (INTERRUPTED, TERMINATED):
        sys.stderr.write(f"recsys: interrupted; {how_it_goes_on(sys.argv[1:])}\n")
    sys.exit(code or 0)


def _report_usage(error: _UsageError) -> NoReturn:
    """Report an unknown command, option or argument; print help if no command was given."""
    command = error.ctx.command_path if error.ctx is not None else "recsys"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(MISTAKE)
    message = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    _stop(f"{message[0].lower()}{message[1:]}; see {command} --help")


def _stop(line: str, code: int = MISTAKE) -> NoReturn:
    sys.stderr.write(f"recsys: {' '.join(line.split())}\n")
    sys.exit(code)
