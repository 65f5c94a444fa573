"""The commands that run the daemon, and follow one that runs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli.options import JsonFlag


class LogLevel(str, Enum):
    """What `--log-level` takes."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def demo(
    seconds: Annotated[float, typer.Option(help="How long to run.", min=1)] = 30.0,
    cameras: Annotated[int, typer.Option(help="How many rendered cameras.", min=1, max=16)] = 1,
    broker_port: Annotated[
        int | None,
        typer.Option(
            help="Port of its broker on this machine, to find it with edge-app watch; otherwise a free one.",
            min=1,
            max=65535,
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Run the daemon on rendered streets and show what it finds.

    Needs no camera, no GPU and no broker: the scenes are rendered, the shipped model runs on ONNX Runtime on
    the CPU, and the broker is Mosquitto if it is installed, otherwise one that runs inside the demo.
    """
    from edge_app.demo.run import run_demo

    raise typer.Exit(run_demo(seconds=seconds, cameras=cameras, json_output=json, broker_port=broker_port))


def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Configuration file (YAML).", show_default=False)
    ],
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            help="Least severe level shown; overrides log.level.", case_sensitive=False, show_default=False
        ),
    ] = None,
) -> None:
    """Run the daemon: cameras in, detections on MQTT out.

    It runs until SIGTERM or Ctrl-C; a second one ends it at once. It ends by itself only when every camera is
    a file that was played to its end.
    """
    from edge_app.app.daemon import run_daemon

    run_daemon(config, None if log_level is None else log_level.value)


def reload(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Configuration file of the daemon that is meant; otherwise the only one that runs.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for its answer.", min=0.1, max=86400)
    ] = 60.0,
) -> None:
    """Have the running daemon read its configuration again.

    Cameras, thresholds, the broker, sinks and the log's level change while it runs; what is as before is not
    touched. Exit status 78: the configuration is not valid, and nothing was changed. 3: some of it needs
    a restart. 1: there is no daemon, or it does not answer.
    """
    from edge_app.ops.run_file import find_daemon, request_reload

    reply = request_reload(find_daemon(config), timeout)
    typer.echo(f"edge-app: {reply.words}", err=reply.exit_status != 0)
    raise typer.Exit(reply.exit_status)


def watch(
    broker: Annotated[str, typer.Option(help="URI of the broker.")] = "mqtt://localhost:1883",
    root: Annotated[str, typer.Option(help="First level of the topics.")] = "edge",
    seconds: Annotated[
        float | None,
        typer.Option(help="Stop after so long; otherwise with Ctrl-C.", min=1, show_default=False),
    ] = None,
    username: Annotated[str | None, typer.Option(help="User name at the broker.", show_default=False)] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the password.", show_default=False)
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificate authorities for mqtts:// and wss://.", show_default=False)
    ] = None,
) -> None:
    """Show live what daemons publish: rates, latency, objects.

    Of every daemon that publishes below the root at this broker, camera by camera. A terminal gets a table
    that renews itself, anything else a line for each camera every few seconds.
    """
    import logging

    from edge_app.config.models import SecretReference, TlsSection
    from edge_app.config.secrets import resolve_password
    from edge_app.watch import watch as show

    logging.getLogger("edge_app.publish.connection").setLevel(logging.ERROR)  # the headline says it
    reference = SecretReference(password_file=str(password_file.absolute()) if password_file else None)
    show(
        broker,
        root,
        seconds,
        username=username,
        password=resolve_password(reference, "watch"),
        tls=TlsSection(ca_file=str(ca_file) if ca_file else None),
    )
