"""Our CUDA kernels: compiled once on the machine that runs them, and kept."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.context import Gpu
from edge_app.gpu.driver import PYCUDA_HINTS, cuda_driver, cuda_errors, keep_for_ever, platform_name

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).parent

OPTIONS = ("--std=c++17", "-O3", "--fmad=false")
"""No fused multiply-add: the results must be those of the CPU's float32, to the last bit."""

_loaded: dict[tuple[int, str], Any] = {}
_lock = threading.Lock()

TOOLKITS = (Path("/usr/local/cuda/bin"), Path("/opt/cuda/bin"))
"""Where the CUDA toolkit is when nobody put it on the PATH, as under systemd."""


def load_kernels(gpu: Gpu, name: str, cache: Path | None = None) -> Any:
    """Return the module of `name`.cu on this GPU, a `pycuda.driver.Module`.

    The thread is attached to the GPU. What was compiled before is found again by its source, options,
    architecture and CUDA version; what is loaded stays loaded as long as the process lives.

    Args:
        gpu: Where it shall run.
        name: Name of the source in this folder, without its ending.
        cache: Where compiled kernels are kept; None: `$EDGE_APP_KERNELS`, or the user's cache if it has one.

    Raises:
        BackendError: There is no compiler, or it or the driver refuses the source.
    """
    with _lock:
        key = (gpu.ordinal, name)
        if key not in _loaded:
            _loaded[key] = _load(gpu, name, cache or _cache_folder())
        return _loaded[key]


def _load(gpu: Gpu, name: str, cache: Path | None) -> Any:
    source = (SOURCES / f"{name}.cu").read_text(encoding="utf-8")
    path = None if cache is None else cache / f"{name}-{_identity(source, gpu.architecture)}.cubin"
    binary = None if path is None else _read(path)
    if binary is None:
        binary = _compile(source, name, gpu.architecture)
        if path is not None:
            _keep(path, binary)
    with cuda_errors(f"the kernels of {name}.cu cannot be loaded"):
        module = cuda_driver().module_from_buffer(binary)
    # PyCUDA's destructor would unload it from whatever thread Python ends in, which fails.
    keep_for_ever(module)
    return module


def find_nvcc() -> str:
    """Return the path of the CUDA compiler. Raises BackendError where there is none."""
    places = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    folders = [str(Path(place) / "bin") for place in places if place] + [str(folder) for folder in TOOLKITS]
    found = shutil.which("nvcc") or shutil.which("nvcc", path=os.pathsep.join(folders))
    if found is None:
        raise BackendError(
            "the CUDA compiler nvcc is not found, neither on the PATH nor in /usr/local/cuda/bin",
            hint=PYCUDA_HINTS[platform_name()],
        )
    return found


def _identity(source: str, architecture: str) -> str:
    version = ".".join(str(number) for number in cuda_driver().get_version())
    parts = (source, *OPTIONS, architecture, version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(source: str, name: str, architecture: str) -> bytes:
    from pycuda.compiler import compile as compile_source

    nvcc = find_nvcc()
    logger.info("compiling the kernels of %s.cu for %s", name, architecture)
    try:
        with cuda_errors(f"{nvcc} cannot compile {name}.cu"):
            binary = compile_source(
                source, nvcc=nvcc, options=list(OPTIONS), arch=architecture, no_extern_c=True, cache_dir=False
            )
    except OSError as error:
        raise BackendError(f"{nvcc} cannot be run: {error}") from error
    return bytes(binary)


def _cache_folder() -> Path | None:
    """Return where compiled kernels are kept; None where this user has no place for them."""
    named = os.environ.get("EDGE_APP_KERNELS")
    if named:
        return Path(named)
    # systemd's CacheDirectory= first, then the XDG base directory specification.
    base = os.environ.get("CACHE_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "edge-app" / "kernels"
    except RuntimeError:
        logger.warning(
            "compiled kernels cannot be kept: this user has no home directory; "
            "EDGE_APP_KERNELS, XDG_CACHE_HOME or HOME names a place for them"
        )
        return None


def _read(path: Path) -> bytes | None:
    """Return what was kept; kernels are code, so only what nobody but us can have written."""
    try:
        status = path.stat()
        if status.st_uid not in {os.geteuid(), 0} or status.st_mode & 0o022:
            logger.warning("%s can be written by others and is not used", path)
            return None
        return path.read_bytes()
    except OSError:
        return None


def _keep(path: Path, binary: bytes) -> None:
    """Keep a compiled kernel; where that fails it is compiled again the next time."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_bytes(binary)
        part.chmod(0o600)
        part.replace(path)
    except OSError as error:
        logger.warning("compiled kernels cannot be kept in %s: %s", path.parent, error)
