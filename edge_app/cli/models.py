"""The commands that make, build, compare and explain models and engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli.options import EngineDirectory, JsonFlag, ModelOption, OptionalConfig, PrecisionOption


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
