"""The words a person types; each command is a few lines that call the package.

Nothing heavy is imported until a command needs it, so that `edge-app --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edge_app import __version__
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

ConfigPath = Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)]
JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")
]


OptionalConfig = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file (YAML); otherwise defaults.", show_default=False),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="An .onnx file, the .yaml that describes one, or the name of one of the configuration's models.",
        show_default=False,
    ),
]
EngineDirectory = Annotated[
    Path | None,
    typer.Option(help="Where engines are kept; overrides the configuration.", show_default=False),
]


class Precision(str, Enum):
    """What `--precision` takes."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


PrecisionOption = Annotated[
    Precision | None, typer.Option(help="Overrides engine.precision.", show_default=False)
]


class DecoderName(str, Enum):
    """What decodes in a benchmark; see `cameras.X.decoder`."""

    AUTO = "auto"
    NVDEC = "nvdec"
    GSTREAMER = "gstreamer"
    CPU = "cpu"


class BenchBackend(str, Enum):
    """What runs a model in a benchmark; `none`: every frame is answered at once."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    NONE = "none"


class LogLevel(str, Enum):
    """What `--log-level` takes."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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


@app.command()
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


@app.command()
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


@app.command()
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
    timeout: Annotated[float, typer.Option(help="Seconds to wait for its answer.", min=0.1)] = 60.0,
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


@app.command("check-config")
def check_config(config: ConfigPath) -> None:
    """Say all that is wrong with a configuration at once.

    Or that it is good. Exit status 78 when something is wrong.
    """
    from edge_app.config.summary import check_config as check

    for line in check(config):
        typer.echo(line)


@app.command()
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


@app.command()
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


@app.command("eval")
def evaluate(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take model and thresholds from here.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="An .onnx file or the .yaml that describes one; overrides the configuration.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Rendered scenes to evaluate on, first-last.")] = "0-49",
    frames: Annotated[int, typer.Option(help="Frames of each scene.", min=1)] = 10,
    size: Annotated[str, typer.Option(help="Size of the rendered frames.")] = "1280x720",
    coco: Annotated[
        Path | None,
        typer.Option(help="COCO annotations (JSON) to evaluate on instead of scenes.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the COCO images.", show_default=False)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure a detector's average precision (COCO's definition).

    The pictures, rendered scenes or a COCO data set, walk through the daemon's own stages.
    """
    from edge_app.evaluate.command import run_evaluation

    run_evaluation(
        config, model=model, seeds=seeds, frames=frames, size=size, coco=coco, images=images, json_output=json
    )


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="What to measure; nothing: list what there is.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds in which the candidates take turns.", min=1, show_default=False)
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the results here as well.", show_default=False)
    ] = None,
    config: OptionalConfig = None,
    batch: Annotated[
        int | None,
        typer.Option(help="street: largest batch; overrides the configuration.", min=1, show_default=False),
    ] = None,
    cameras: Annotated[int, typer.Option(help="street: how many cameras.", min=1)] = 8,
    fps: Annotated[
        float | None,
        typer.Option(
            help="street: frames a second of each; otherwise as fast as it goes.", show_default=False
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="street: size of the frames.")] = "1920x1080",
    seconds: Annotated[float, typer.Option(help="street: length of a round.", min=0.5)] = 5.0,
    source: Annotated[
        str,
        typer.Option(help="street: memory (frames decoded already), scene, or a camera's or file's URI."),
    ] = "memory",
    decoder: Annotated[
        DecoderName, typer.Option(help="street: what decodes a camera or file.")
    ] = DecoderName.AUTO,
    backend: Annotated[
        BenchBackend | None,
        typer.Option(
            help="street: what runs the model; overrides the configuration. none: answered at once, "
            "which shows the daemon's own work.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="street: an .onnx file or what describes one; overrides.", show_default=False),
    ] = None,
    overload: Annotated[
        bool, typer.Option("--overload", help="street: also with twice the frames that can be processed.")
    ] = False,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="street: also how many cameras of --fps (30) are carried.")
    ] = False,
    latency_ms: Annotated[
        float, typer.Option(help="street: longest p95 that counts as carried, in milliseconds.", min=1)
    ] = 50.0,
    processes: Annotated[
        int, typer.Option(help="street: how many daemons share the cameras.", min=1, max=64)
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="street: write charts here, .png or .svg.", show_default=False)
    ] = None,
) -> None:
    """Measure what this machine does, candidates side by side.

    They take turns; the medians of several rounds are shown. Without a name: what there is to measure.
    `street` is the daemon from decoded frames to encoded messages, beside the bare engine.
    """
    if names == ["street"]:
        from edge_app.bench.street import Load
        from edge_app.bench.street_command import StreetOptions, run_street
        from edge_app.export.command import parse_size

        load = Load(cameras, fps, parse_size(size), seconds, source, decoder.value)
        chosen = None if backend is None else backend.value
        options = StreetOptions(
            load,
            rounds or 5,
            batch,
            chosen,
            model,
            overload=overload,
            capacity=capacity,
            latency_ms=latency_ms,
            processes=processes,
        )
        run_street(config, options, json, plot)
        return
    from edge_app.bench.command import run_benchmarks

    run_benchmarks(names or [], rounds=rounds, json_path=json)


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="package.module:attribute, a torch.nn.Module or what returns one (this runs its code); "
            "or a TorchScript file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .onnx file to write.", show_default=False)
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights of the module: a state dict, and nothing else.", show_default=False),
    ] = None,
    size: Annotated[str, typer.Option(help="Width and height of the input in pixels.")] = "640x640",
    opset: Annotated[int, typer.Option(help="ONNX operators; TensorRT 8.6 reads up to 17.")] = 17,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Class names in order: person,car or a text file with one on each line.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; otherwise that of the file.", show_default=False)
    ] = None,
    stride: Annotated[int, typer.Option(help="Stride of the coarsest grid, told with the labels.")] = 32,
    tolerance: Annotated[
        float, typer.Option(help="Largest difference to torch, as a share of an output's magnitude.", min=0)
    ] = 1e-4,
    simplify: Annotated[
        bool, typer.Option("--simplify/--no-simplify", help="Fold constants and the arithmetic of shapes.")
    ] = True,
    json: JsonFlag = False,
) -> None:
    """Write a PyTorch module as an ONNX model, checked.

    The batch is its only dynamic axis. Nothing is written unless the model is valid and gives what the
    module gives.
    """
    from edge_app.export.command import run_export

    run_export(
        source,
        output=output,
        checkpoint=checkpoint,
        size=size,
        opset=opset,
        labels=labels,
        name=name,
        stride=stride,
        simplify=simplify,
        tolerance=tolerance,
        json_output=json,
    )


@app.command()
def build(
    config: OptionalConfig = None,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Frames for int8: a folder, a video or a camera URI; overrides the configuration.",
            show_default=False,
        ),
    ] = None,
    directory: EngineDirectory = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build although there is an engine that fits.")
    ] = False,
    accept_refused: Annotated[
        bool,
        typer.Option(
            "--accept-refused", help="Take an engine into use although its verification failed; it is noted."
        ),
    ] = False,
) -> None:
    """Build a model's TensorRT engine on this machine.

    It must be the machine that will run it. The engine is verified against the model on ONNX Runtime and kept
    for edge-app run; one that is there and still fits is not built again.
    """
    from edge_app.engine_commands.build import run_build

    run_build(
        config,
        model=model,
        precision=None if precision is None else precision.value,
        calibration=calibration,
        directory=directory,
        rebuild=rebuild,
        accept_refused=accept_refused,
    )


@app.command()
def engines(
    config: OptionalConfig = None,
    directory: EngineDirectory = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of each whether it serves on this machine, or why not.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove what cannot serve on this machine, and what interrupted builds left."
        ),
    ] = False,
) -> None:
    """List the engines that were built."""
    from edge_app.engine_commands.listing import run_listing

    run_listing(config, directory=directory, explain=explain, remove_others=prune)


@app.command()
def verify(
    config: OptionalConfig = None,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    directory: EngineDirectory = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Evaluate both on these rendered scenes too, first-last: how the average precision differs.",
            show_default=False,
        ),
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option(
            help="The same on pictures of your own: their COCO annotations (JSON).", show_default=False
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of these pictures; otherwise that of the annotations.", show_default=False),
    ] = None,
) -> None:
    """Compare an engine with its model on the same frames.

    Exit status 1 if they are too far apart.
    """
    from edge_app.engine_commands.verify import run_verification

    raise typer.Exit(
        run_verification(
            config,
            model=model,
            precision=None if precision is None else precision.value,
            directory=directory,
            seeds=seeds,
            coco=coco,
            images=images,
        )
    )


@app.command()
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
    timeout: Annotated[float, typer.Option(help="Seconds that a check may take.", min=1)] = 30.0,
) -> None:
    """Say what keeps edge-app from working here.

    And what to do about it: software, GPU, power, memory, disk, time, configuration, engines, broker, and
    every camera. Exit status 1 if something failed. As root it sees what the service sees.
    """
    from edge_app.doctor.command import run_doctor

    raise typer.Exit(run_doctor(config, json_output=json, bundle=bundle, limit_s=timeout))


@app.command()
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            help="A model (.onnx, or the .yaml that describes one), an engine (.engine, .plan), or demo.",
            show_default=False,
        ),
    ],
    json: JsonFlag = False,
) -> None:
    """Say what a model or an engine is.

    Of a model: inputs, outputs, operators, weights, labels, the head that decodes it, and what TensorRT will
    not like. Of an engine: what it was built from, for and with, its verification, and its layers.
    """
    from edge_app.inspection.command import run_inspection

    run_inspection(file, json_output=json)


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


if __name__ == "__main__":
    main()
