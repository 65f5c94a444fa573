"""Options that several commands take."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

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
