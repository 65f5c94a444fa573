"""What an engine is: everything that decides whether a plan on disk is the one that is wanted here."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edge_app.engine.errors import EngineError
from edge_app.engine.options import BuildOptions, HardwareCompatibility, Precision, Profile

RECIPE_VERSION = 1
"""Version of our own conversion: raise it when `precision` or `compat` would build something else."""

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The machine as far as an engine depends on it.

    Attributes:
        tensorrt: Full version, such as "10.3.0".
        cuda: CUDA version, such as "12.6".
        gpu: Name of the GPU.
        compute_capability: Such as "8.7".
        l4t: Release of Jetson Linux, such as "36.4.3"; empty elsewhere.
    """

    tensorrt: str
    cuda: str
    gpu: str
    compute_capability: str
    l4t: str = ""


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Two engines of one identity are interchangeable.

    Attributes:
        model_sha256: Of the ONNX file and its external data, see `hash_model`.
        device: Where it was built.
        precision: How its layers calculate.
        profile: Batch sizes and input size.
        options: The builder's options.
        calibration_sha256: Of the calibration set of an INT8 engine; None for the others, and in a wanted
            identity also for "whichever set it was calibrated with".
        recipe: `RECIPE_VERSION` of the conversion.
    """

    model_sha256: str
    device: DeviceFacts
    precision: Precision
    profile: Profile
    options: BuildOptions = field(default_factory=BuildOptions)
    calibration_sha256: str | None = None
    recipe: int = RECIPE_VERSION

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of all the fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the identity as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EngineIdentity:
        """Return the identity that `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: If `values` is not one.
        """
        options = dict(values["options"])
        options["hardware_compatibility"] = HardwareCompatibility(options["hardware_compatibility"])
        identity = cls(
            model_sha256=values["model_sha256"],
            device=DeviceFacts(**values["device"]),
            precision=Precision(values["precision"]),
            profile=Profile(**values["profile"]),
            options=BuildOptions(**options),
            calibration_sha256=values["calibration_sha256"],
            recipe=values["recipe"],
        )
        texts = [identity.model_sha256, *asdict(identity.device).values()]
        if not all(isinstance(text, str) for text in texts) or not isinstance(identity.recipe, int):
            raise TypeError("a field of the identity is of the wrong type")
        return identity


def differences(built: EngineIdentity, wanted: EngineIdentity) -> list[str]:
    """Return in words why `built` is not `wanted`; empty if it can be used as it is."""
    found = [
        *_model_differences(built, wanted),
        *_device_differences(built, wanted),
        *_choice_differences(built, wanted),
    ]
    if built.recipe != wanted.recipe:
        found.append(f"converted by recipe {built.recipe}, this is recipe {wanted.recipe}")
    return found


def _model_differences(built: EngineIdentity, wanted: EngineIdentity) -> Iterator[str]:
    if built.model_sha256 != wanted.model_sha256:
        yield f"built from model {built.model_sha256[:12]}, this is {wanted.model_sha256[:12]}"
    if wanted.calibration_sha256 not in {None, built.calibration_sha256}:
        yield (
            f"calibrated with frames {_short(built.calibration_sha256)}, "
            f"these are {_short(wanted.calibration_sha256)}"
        )


def _device_differences(built: EngineIdentity, wanted: EngineIdentity) -> Iterator[str]:
    here, there = wanted.device, built.device
    if there.tensorrt != here.tensorrt and not _version_compatible(built, here.tensorrt):
        yield f"built for TensorRT {there.tensorrt}, this is {here.tensorrt}"
    if there.cuda != here.cuda:
        yield f"built for CUDA {there.cuda}, this is {here.cuda}"
    compatibility = built.options.hardware_compatibility
    if there.gpu != here.gpu and compatibility is HardwareCompatibility.NONE:
        yield f"built on GPU {there.gpu}, this is {here.gpu}"
    ampere_plus = compatibility is HardwareCompatibility.AMPERE_PLUS and _at_least_ampere(here)
    if there.compute_capability != here.compute_capability and not ampere_plus:
        yield f"built for compute capability {there.compute_capability}, this is {here.compute_capability}"
    if there.l4t != here.l4t:
        yield f"built on L4T {there.l4t or 'none'}, this is {here.l4t or 'none'}"


def _choice_differences(built: EngineIdentity, wanted: EngineIdentity) -> Iterator[str]:
    if built.precision != wanted.precision:
        yield f"built with precision {built.precision.value}, wanted is {wanted.precision.value}"
    for owner in ("profile", "options"):
        mine, theirs = getattr(built, owner), getattr(wanted, owner)
        for item in fields(mine):
            old, new = getattr(mine, item.name), getattr(theirs, item.name)
            if old != new:
                yield f"built with {item.name} {_value(old)}, wanted is {_value(new)}"


def _version_compatible(built: EngineIdentity, here: str) -> bool:
    """Tell whether this TensorRT may load a version-compatible engine: same or next major, never older."""
    if not built.options.version_compatible:
        return False
    old, new = _version(built.device.tensorrt), _version(here)
    following = {8: 10, 10: 11}
    return old <= new and new[:1] in {old[:1], (following.get(old[0]),)}


def _version(text: str) -> tuple[int, ...]:
    parts = [part for part in text.split(".") if part.isdigit()]
    return tuple(int(part) for part in parts) or (0,)


def _at_least_ampere(device: DeviceFacts) -> bool:
    return _version(device.compute_capability) >= (8, 0)


def _value(value: object) -> str:
    return str(getattr(value, "value", value)).lower()


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else sha256[:12]


def hash_model(path: Path) -> str:
    """Return the SHA-256 of an ONNX file; if it has external data, of the file's and the data's hashes.

    A model without external data so has the hash that `sha256sum` prints.

    Raises:
        EngineError: The file or its external data is missing or no ONNX, or lies outside its folder.
    """
    main = _hash_file(path)
    external = sorted(_external_files(path)) if _may_have_external_data(path) else []
    if not external:
        return main
    combined = hashlib.sha256(main.encode())
    for name in external:
        target = (path.parent / name).resolve()
        if not target.is_relative_to(path.parent.resolve()):
            raise EngineError(
                f"{path}: its external data {name!r} lies outside the model's folder",
                hint="Export the model again with its data beside it.",
            )
        combined.update(f"\0{name}\0{_hash_file(target)}".encode())
    return combined.hexdigest()


def _may_have_external_data(path: Path) -> bool:
    """Look for the key that every external tensor has, which spares most starts the import of onnx."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"location") >= 0


def _external_files(path: Path) -> set[str]:
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:
        raise EngineError(f"{path}: not an ONNX model: {error}", hint="Fetch or export it again.") from error
    return {ExternalDataInfo(t).location for t in _get_all_tensors(model) if uses_external_data(t)}


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise EngineError(
            f"{path}: cannot be read: {error.strerror}",
            hint="A model with external data needs every data file beside it.",
        ) from None
    return digest.hexdigest()
