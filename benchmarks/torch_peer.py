"""The PyTorch side of `edge_app.bench.engines`, for an interpreter that has PyTorch and needs no TensorRT.

python benchmarks/torch_peer.py FOLDER   # started by the benchmark; FOLDER is where torch_models.py wrote
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch_models import MODELS, load

from edge_app.bench.turns import Runner, make_input, serve

WARM_CALLS = 3


@dataclass(frozen=True)
class Way:
    """One way to run a module. `tf32` is None for PyTorch's defaults: in convolutions, not in products."""

    half: bool = False
    tf32: bool | None = None
    folded: bool = False
    graph: bool = False
    channels_last: bool = False
    tuned: bool = False


WAYS: Mapping[str, Way] = {
    "eager FP32": Way(),
    "eager FP32, TF32 off": Way(tf32=False),
    "eager FP32, TF32 on": Way(tf32=True),
    "eager FP32, folded": Way(folded=True),
    "eager FP16": Way(half=True),
    "FP16 graph": Way(half=True, graph=True),
    "FP16 graph, folded, channels last, tuned": Way(
        half=True, graph=True, folded=True, channels_last=True, tuned=True
    ),
}
CPU_WAYS = ("eager FP32", "eager FP32, folded")


class ModuleRunner:
    """A module with its input in device memory, run one way."""

    def __init__(self, module: nn.Module, images: Tensor, way: Way) -> None:
        self._way = way
        self._module = module
        self._images = images
        self._outputs: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None
        if way.graph:
            self._capture()

    def call(self) -> None:
        """Run the module, or launch its graph."""
        if self._graph is not None:
            self._graph.replay()
            return
        self._set_switches()
        with torch.inference_mode():
            self._outputs = self._module(self._images)

    def wait(self) -> None:
        """Wait for the stream."""
        if self._images.is_cuda:
            torch.cuda.current_stream().synchronize()

    def device_ms(self) -> float | None:
        """Run between two events and return the time between them."""
        if not self._images.is_cuda:
            return None
        started, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started.record()
        self.call()
        done.record()
        torch.cuda.current_stream().synchronize()
        return float(started.elapsed_time(done))

    def outputs(self) -> Sequence[NDArray[Any]]:
        """Copy the outputs to the host."""
        found = self._outputs if isinstance(self._outputs, (tuple, list)) else [self._outputs]
        return [output.float().cpu().numpy() for output in found]

    def _capture(self) -> None:
        self._set_switches()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(WARM_CALLS):
                self._module(self._images)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            self._outputs = self._module(self._images)
        self._graph = graph

    def _set_switches(self) -> None:
        tf32 = self._way.tf32
        torch.backends.cudnn.allow_tf32 = True if tf32 is None else tf32
        torch.backends.cuda.matmul.allow_tf32 = False if tf32 is None else tf32
        torch.backends.cudnn.benchmark = self._way.tuned


class TorchSide:
    """The models of this file, with the weights that were exported to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def describe(self) -> Mapping[str, str]:
        """Return the device and the versions."""
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else "CPU"
        return {
            "device": name,
            "torch": torch.__version__,
            "cudnn": str(torch.backends.cudnn.version()),
            "python": sys.version.split()[0],
        }

    def open(self, model: str, batch: int) -> Mapping[str, Runner | str]:
        """Return every way to run `model`; on a CPU only those that a CPU can."""
        if model not in MODELS:
            return {}
        names = [
            name
            for name, way in WAYS.items()
            if (self._device.type == "cuda" or name in CPU_WAYS)
            and (MODELS[model].fold or not way.folded or way.graph)
        ]
        return {name: self._run(model, batch, WAYS[name]) for name in names}

    def close(self) -> None:
        """Leave the rest to the end of the process."""

    def _run(self, name: str, batch: int, way: Way) -> Runner | str:
        try:
            return self._make(name, batch, way)
        except (ImportError, OSError, RuntimeError) as error:
            return str(error)

    def _make(self, name: str, batch: int, way: Way) -> Runner:
        model = MODELS[name]
        module = load(name, self._folder)
        if way.folded and model.fold is not None:
            module = model.fold(module)
        dtype = torch.float16 if way.half else torch.float32
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        module = module.to(self._device, dtype).to(memory_format=layout)
        images = torch.from_numpy(make_input((batch, 3, model.size, model.size)))
        return ModuleRunner(module, images.to(self._device, dtype, memory_format=layout), way)


if __name__ == "__main__":
    serve(TorchSide(Path(sys.argv[1])))
