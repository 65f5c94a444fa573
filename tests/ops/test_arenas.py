"""Many threads, few arenas: seen in what the process has mapped, as the C library lays it out."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

from tests.processes import environment

ARENA_BYTES = 64 << 20
"""HEAP_MAX_SIZE of glibc's malloc/arena.c on 64-bit machines: each further arena begins at a multiple."""

PROGRAM = """
import ctypes, sys, threading
from edge_app.ops.process import keep_arenas_few
print(keep_arenas_few() if sys.argv[1] == "few" else None)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
barrier = threading.Barrier(33)
def work():
    libc.malloc(50_000)
    barrier.wait()
    barrier.wait()
for _ in range(32):
    threading.Thread(target=work, daemon=True).start()
barrier.wait()
print(open("/proc/self/maps").read())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
@pytest.mark.parametrize("how", ["few", "default"])
def test_threads_share_a_few_arenas(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={key: value for key, value in environment().items() if key != "MALLOC_ARENA_MAX"},
        capture_output=True,
        text=True,
        check=True,
    )
    told, _, maps = done.stdout.partition("\n")
    found = re.findall(r"^([0-9a-f]+)-[0-9a-f]+ rw-p 00000000 00:00 0", maps, re.MULTILINE)
    arenas = [begin for begin in found if int(begin, 16) % ARENA_BYTES == 0]
    if how == "few":
        assert told == "True"
        assert len(arenas) <= 4
    else:
        assert len(arenas) > 4, "or this test cannot fail"
