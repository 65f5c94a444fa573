"""Where the files lie that edge-app is shipped with: inside the installed package, or in a checkout."""

from __future__ import annotations

from pathlib import Path

from edge_app.errors import ConfigError, EdgeAppError, ModelError

_PACKAGE = Path(__file__).resolve().parents[1]
_ROOTS = (_PACKAGE / "_data", _PACKAGE.parent)
"""Of a wheel, of a checkout."""


def demo_model() -> Path:
    """Return the ONNX file of the shipped model.

    Raises:
        ModelError: If this installation lacks it.
    """
    return _find("models/demo.onnx", ModelError)


def demo_description() -> Path:
    """Return the YAML file that describes the shipped model.

    Raises:
        ModelError: If this installation lacks it.
    """
    return _find("models/demo.yaml", ModelError)


def shipped_config(name: str) -> Path:
    """Return a shipped configuration by its file name, such as `edge.yaml`.

    Raises:
        ConfigError: If there is none of that name, or this installation lacks it.
    """
    return _find(f"configs/{name}", ConfigError)


def shipped_configs() -> list[Path]:
    """Return all shipped configurations, by name; empty if this installation lacks them."""
    found: dict[str, Path] = {}
    for root in reversed(_ROOTS):
        found |= {path.name: path for path in (root / "configs").glob("*.yaml")}
    return [found[name] for name in sorted(found)]


def _find(name: str, error: type[EdgeAppError]) -> Path:
    for root in _ROOTS:
        if (root / name).is_file():
            return root / name
    places = " nor ".join(str(root / name) for root in _ROOTS)
    raise error(
        f"A file that edge-app is shipped with is not there: neither {places}.",
        hint="Install edge-app again.",
    )
