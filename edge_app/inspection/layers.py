"""The text of TensorRT's engine inspector becomes one line for each layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def parse_layers(text: str) -> tuple[str, ...]:
    """Return the layers in the order in which they run.

    Args:
        text: JSON of the inspector: `{"Layers": [...], "Bindings": [...]}`, where a layer is its name, or,
            in engines built with detailed verbosity, a mapping.

    Raises:
        ValueError: It is something else.
    """
    # TensorRT 8.6 leaves control characters in its strings as they are.
    values = json.loads(text, strict=False)
    layers = values.get("Layers") if isinstance(values, dict) else None
    if not isinstance(layers, list):
        raise ValueError("no list of layers in what TensorRT's inspector says")  # noqa: TRY004 - it is text
    return tuple(_layer(item) for item in layers)


def _layer(item: Any) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    name = item.get("Name", "?")
    kind = item.get("ParameterType") or item.get("LayerType") or "?"
    tactic = item.get("TacticName")
    formats = sorted({str(output.get("Format/Datatype", "?")) for output in _outputs(item)})
    return f"{kind} {name} -> {', '.join(formats) or '?'}" + (f" ({tactic})" if tactic else "")


def _outputs(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    outputs = item.get("Outputs")
    return [output for output in outputs if isinstance(output, Mapping)] if isinstance(outputs, list) else []
