"""A side of the engine benchmark that multiplies: `python arithmetic_side.py PREFIX FACTOR`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[2]))

from edge_app.bench.turns import Runner, make_input, serve


class Multiplication:
    def __init__(self, batch: int, factor: float) -> None:
        self._input = make_input((batch, 4))
        self._factor = factor
        self._output = np.zeros(0, np.float32)

    def call(self) -> None:
        self._output = self._input * np.float32(self._factor)

    def wait(self) -> None:
        pass

    def device_ms(self) -> float | None:
        return 0.5 * self._factor

    def outputs(self) -> Sequence[NDArray[np.float32]]:
        return [self._output[:, :1], self._output[:, 1:]]


class ArithmeticSide:
    def __init__(self, prefix: str, factor: float) -> None:
        self._prefix, self._factor = prefix, factor

    def describe(self) -> Mapping[str, str]:
        os.write(1, b"not an answer\n")
        return {"numpy": np.__version__}

    def open(self, model: str, batch: int) -> Mapping[str, Runner | str]:
        if model == "crash":
            os._exit(3)
        if model == "hang":
            time.sleep(60)
        if model == "odd":
            raise ValueError("an odd model")
        if model == f"not {self._prefix}":
            return {}
        return {
            self._prefix: Multiplication(batch, self._factor),
            f"{self._prefix} twice": Multiplication(batch, 2 * self._factor),
            f"{self._prefix} never": "there is no such thing",
        }

    def close(self) -> None:
        pass


if __name__ == "__main__":
    serve(ArithmeticSide(sys.argv[1], float(sys.argv[2])))
