"""The command line as a whole: its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edge_app import __version__
from edge_app.cli import daemon, measure, models, setup
from edge_app.errors import EXIT_FAILURE, EdgeAppError, missing_package
from edge_app.ops.process import leave

app = typer.Typer(
    name="edge-app",
    help="Edge video analytics: cameras in, detections on MQTT out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # importing rich would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-app {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Edge video analytics: cameras in, detections on MQTT out.

    New here? `edge-app demo` shows the whole thing on rendered street scenes;
    `edge-app init > edge.yaml` writes a configuration to start from.
    """


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": daemon.demo,
    "run": daemon.run,
    "reload": daemon.reload,
    "check-config": setup.check_config,
    "init": setup.init,
    "watch": daemon.watch,
    "eval": measure.evaluate,
    "bench": measure.bench,
    "export": models.export,
    "build": models.build,
    "engines": models.engines,
    "verify": models.verify,
    "doctor": setup.doctor,
    "inspect": models.inspect,
}
"""In the order of `--help`."""

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> NoReturn:
    """Run the command line; errors become one explained line and their exit status."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
    if isinstance(sys.stdout, TextIOWrapper):  # a letter that the terminal lacks must not end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # how the library ends every command
        leave(ended.code if isinstance(ended.code, int) else EXIT_FAILURE)
    except (EdgeAppError, ModuleNotFoundError) as error:
        explained = error if isinstance(error, EdgeAppError) else missing_package(error.name)
        if explained is None:
            raise
        typer.echo(f"edge-app: {explained}", err=True)
        leave(explained.exit_status)
    except OSError as error:
        _forget_output()
        if not isinstance(error, BrokenPipeError):  # `| head` has seen enough, and that is no error
            where = f": {error.filename}" if error.filename else ""
            typer.echo(f"edge-app: {error.strerror or error}{where}", err=True)
        leave(EXIT_FAILURE)
    leave(0)


def _forget_output() -> None:
    """What could not be written is not tried again at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
