"""NVTX ranges: names on the time line of Nsight Systems.

They cost nothing unless a profiler listens (`nsys profile edge-app run ...`, which sets
NVTX_INJECTION64_PATH) and the package `nvtx` is installed.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib import import_module
from typing import Any

LISTENER = "NVTX_INJECTION64_PATH"
DOMAIN = "edge_app"

_NOTHING = nullcontext()


def nvtx_range(name: str) -> AbstractContextManager[Any]:
    """Return a context that shows up under `name`, or one that does nothing."""
    annotate = _annotate()
    if annotate is None:
        return _NOTHING
    found: AbstractContextManager[Any] = annotate(name, domain=DOMAIN)
    return found


@lru_cache(maxsize=1)
def _annotate() -> Any | None:
    if LISTENER not in os.environ:
        return None
    try:
        return import_module("nvtx").annotate
    except ImportError:
        return None
