"""The commands that bring a machine and a configuration into order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli.options import JsonFlag

ConfigPath = Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)]


def check_config(config: ConfigPath) -> None:
    """Say all that is wrong with a configuration at once.

    Or that it is good. Exit status 78 when something is wrong.
    """
    from edge_app.config.summary import check_config as check

    for line in check(config):
        typer.echo(line)


def init(
    camera: Annotated[
        str | None,
        typer.Option(help="URI of the first camera, such as rtsp://host/path.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write here, not to standard output.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Write every key there is, with its default.")] = False,
) -> None:
    """Write a commented configuration to start from."""
    from edge_app.config.summary import write_starter_config

    write_starter_config(output, camera_uri=camera, full=full)


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Configuration file (YAML); otherwise /etc/edge-app/edge.yaml, if there is one.",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write a support bundle here (.tar.gz), without secrets.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a check may take.", min=1, max=3600)] = 30.0,
) -> None:
    """Say what keeps edge-app from working here.

    And what to do about it: software, GPU, power, memory, disk, time, configuration, engines, broker, and
    every camera. Exit status 1 if something failed. As root it sees what the service sees.
    """
    from edge_app.doctor.command import run_doctor

    raise typer.Exit(run_doctor(config, json_output=json, bundle=bundle, limit_s=timeout))
