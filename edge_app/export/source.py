"""Where the module comes from: the user's own Python code with its weights, or a TorchScript file."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_app.export.errors import EXPORT_EXTRA, ExportError

MODULE_ATTRIBUTE = re.compile(r"(?P<module>[\w.]+):(?P<attribute>[\w.]+)")
FILE_SUFFIXES = frozenset({".pt", ".pth", ".ts", ".torchscript", ".pt2", ".bin", ".ckpt"})
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
"""Under one of these, training scripts keep the weights beside optimizer and epoch."""
PARALLEL_PREFIX = "module."
"""What DataParallel puts in front of every name."""


def import_torch() -> Any:
    """Return the module `torch`. Raises ExportError where it is not installed."""
    try:
        import torch
    except (ImportError, OSError) as error:
        raise ExportError(f"PyTorch cannot be imported: {error}", hint=EXPORT_EXTRA) from None
    return torch


def load_source(source: str, checkpoint: Path | None = None) -> Any:
    """Return the `torch.nn.Module` that `source` names.

    Args:
        source: `package.module:attribute`, a module or something that returns one when called without
            arguments; its code runs. Or a TorchScript file.
        checkpoint: State dict for the module, as `torch.save(module.state_dict(), ...)` wrote it.

    Raises:
        ExportError: There is no such module, the weights are not its own, or loading would run code that
            a file brings along.
    """
    path = Path(source)
    if path.is_file() or path.suffix in FILE_SUFFIXES:
        if checkpoint is not None:
            raise ExportError(
                f"{source}: a TorchScript file has its weights in it, and --checkpoint is given too",
                hint="Leave out --checkpoint, or name the module's code as package.module:attribute.",
            )
        return _load_torchscript(path)
    module = _import_module(source)
    if checkpoint is not None:
        _load_weights(module, checkpoint)
    return module


def _import_module(source: str) -> Any:
    torch = import_torch()
    found = MODULE_ATTRIBUTE.fullmatch(source)
    if found is None:
        raise ExportError(
            f"{source!r} is neither a file nor package.module:attribute",
            hint="Write it like mymodels.street:build_detector.",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(found["module"])
        for name in found["attribute"].split("."):
            value = getattr(value, name)
    except Exception as error:
        raise ExportError(
            f"{source}: cannot be imported: {type(error).__name__}: {error}",
            hint="It is looked for in this directory and among the installed packages.",
        ) from error
    if isinstance(value, torch.nn.Module):
        return value
    if not callable(value):
        raise ExportError(f"{source} is neither a torch.nn.Module nor callable, but {type(value).__name__}")
    try:
        module = value()
    except Exception as error:
        raise ExportError(
            f"{source}() failed: {type(error).__name__}: {error}",
            hint="It is called without arguments; write a function that gives those it needs.",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ExportError(f"{source}() returned {type(module).__name__}, expected a torch.nn.Module")
    return module


def _load_torchscript(path: Path) -> Any:
    """Load a TorchScript file, whose code can only do what TorchScript can, unlike a pickle's."""
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    if not _is_torchscript(path):
        raise ExportError(
            f"{path}: not a TorchScript file; loading a pickled module would run whatever code it holds",
            hint="Give the code as package.module:attribute and the weights as --checkpoint, "
            "or save it with torch.jit.save.",
        )
    torch = import_torch()
    try:
        with warnings.catch_warnings():
            # Newer versions advise against TorchScript; whoever has such a file cannot change that here.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise ExportError(
            f"{path}: PyTorch {torch.__version__} cannot load it: {_first_lines(error)}"
        ) from error


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def _load_weights(module: Any, path: Path) -> None:
    torch = import_torch()
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise ExportError(
            f"{path}: not a checkpoint of tensors alone, and anything else could run code when it is loaded: "
            f"{_first_lines(error)}",
            hint="Save the weights again with torch.save(module.state_dict(), ...).",
        ) from error
    try:
        module.load_state_dict(_state_dict(content, path))
    except RuntimeError as error:
        raise ExportError(f"{path}: these are not the module's weights: {_first_lines(error)}") from error


def _state_dict(content: Any, path: Path) -> Mapping[str, Any]:
    torch = import_torch()
    if isinstance(content, Mapping):
        wrapped = [content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), Mapping)]
        content = wrapped[0] if wrapped else content
    if not isinstance(content, Mapping) or not content:
        raise ExportError(f"{path}: holds no state dict, but {type(content).__name__}")
    strangers = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise ExportError(
            f"{path}: a state dict maps names to tensors, but {strangers[0]!r} is "
            f"{type(content[strangers[0]]).__name__}",
            hint=f"A state dict under {' or '.join(STATE_DICT_KEYS)} is found.",
        )
    if all(key.startswith(PARALLEL_PREFIX) for key in content):
        return {key[len(PARALLEL_PREFIX) :]: value for key, value in content.items()}
    return content


def _first_lines(error: Exception, count: int = 4) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:count])[:600] or type(error).__name__
