"""The networks that `edge_app.bench.engines` measures, as PyTorch modules and as ONNX files.

    python benchmarks/torch_models.py FOLDER [MODEL ...]   # FOLDER/MODEL.onnx, and its weights in MODEL.pt

All weights are random, but for the demo model's. The YOLO architectures are built by the ultralytics package
where it is installed; nothing of it is part of this project.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ROOT = Path(__file__).resolve().parents[1]
OPSET = 17  # the newest that TensorRT 8.6 reads


class DecodedBoxes(nn.Module):
    """A YOLO network that returns its decoded predictions only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to (B, 4 + classes, anchors)."""
        found = self.network(images)
        return found[0] if isinstance(found, (tuple, list)) else found


class BackboneAndHeads(nn.Module):
    """An SSD up to its raw predictions; what follows depends on the data."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, 300, 300) to box regressions (B, A, 4) and class logits (B, A, classes)."""
        found = self.head(list(self.backbone(images).values()))
        return found["bbox_regression"], found["cls_logits"]


def yolo(name: str) -> nn.Module:
    """An architecture of ultralytics, by the name of its description."""
    from ultralytics.nn.tasks import DetectionModel

    network = DetectionModel(f"{name}.yaml", verbose=False)
    network.model[-1].export = True  # returns the predictions without the maps they came from
    return DecodedBoxes(network)


def resnet50() -> nn.Module:
    """Torchvision's, from (B, 3, 224, 224) to logits."""
    from torchvision.models import resnet50

    return resnet50(weights=None)


def ssd300() -> nn.Module:
    """Torchvision's SSD300-VGG16, backbone and heads."""
    from torchvision.models.detection import ssd300_vgg16

    return BackboneAndHeads(ssd300_vgg16(weights=None, weights_backbone=None))


def demo() -> nn.Module:
    """The demo model as it was trained: its weights are read back from the ONNX file, in calling order.

    There each normalisation is part of its convolution; here it stays, as one that changes nothing but the
    bias, so that the network does the work it does in training code.
    """
    import onnx

    sys.path.insert(0, str(ROOT / "models" / "training"))
    from network import Deployed, Detector

    model = onnx.load(str(ROOT / "models" / "demo.onnx"))
    values = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    module = Deployed(Detector(6), 416).eval()
    called: list[nn.Module] = []
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [m.register_forward_hook(lambda m, _inputs, _output: called.append(m)) for m in layers]
    with torch.no_grad():
        module(torch.zeros(1, 3, 416, 416))
        for hook in hooks:
            hook.remove()
        convolutions = [i for i, layer in enumerate(called) if isinstance(layer, nn.Conv2d)]
        for i, node in zip(convolutions, nodes, strict=True):
            weight, bias = (torch.from_numpy(values[name].copy()) for name in node.input[1:3])
            called[i].weight.copy_(weight)
            if called[i].bias is not None:
                called[i].bias.copy_(bias)
                continue
            normalization = called[i + 1]
            normalization.running_mean.zero_()
            normalization.running_var.fill_(1 - normalization.eps)
            normalization.weight.fill_(1)
            normalization.bias.copy_(bias)
    return module


def fold_traced(module: nn.Module) -> nn.Module:
    """Fold by PyTorch's own pass over a traced graph."""
    from torch.fx.experimental.optimization import fuse

    return fuse(module)


def fold_sequences(module: nn.Module) -> nn.Module:
    """Fold where a convolution and its normalisation are neighbours in a sequence."""
    for sequence in [m for m in module.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(sequence) - 1):
            if isinstance(sequence[i], nn.Conv2d) and isinstance(sequence[i + 1], nn.BatchNorm2d):
                sequence[i] = fuse_conv_bn_eval(sequence[i], sequence[i + 1])
                sequence[i + 1] = nn.Identity()
    return module


def fold_yolo(module: nn.Module) -> nn.Module:
    """Fold by ultralytics' own pass, which its predictor runs by default."""
    module.network.fuse(verbose=False)
    return module


@dataclass(frozen=True)
class Model:
    """How a model is made and run.

    Attributes:
        make: Returns it with its initial weights.
        size: Side of its square input, in pixels.
        fold: Makes normalisations part of their convolutions; None if it has none.
        settle: Whether its normalisations need statistics of images: without, an untrained YOLO's features
            fade to nothing, and its output is a constant that shows no error.
    """

    make: Callable[[], nn.Module]
    size: int
    fold: Callable[[nn.Module], nn.Module] | None = None
    settle: bool = False


MODELS: Mapping[str, Model] = {
    "yolo11n": Model(lambda: yolo("yolo11n"), 640, fold_yolo, settle=True),
    "yolo11s": Model(lambda: yolo("yolo11s"), 640, fold_yolo, settle=True),
    "yolov8n": Model(lambda: yolo("yolov8n"), 640, fold_yolo, settle=True),
    "resnet50": Model(resnet50, 224, fold_traced),
    "ssd300": Model(ssd300, 300),
    "demo": Model(demo, 416, fold_sequences),
}


def load(name: str, folder: Path) -> nn.Module:
    """Return a model for inference with the weights of `folder`."""
    module = MODELS[name].make().eval()
    weights = folder / f"{name}.pt"
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.requires_grad_(requires_grad=False)


def export(name: str, folder: Path) -> Path:
    """Write a model's ONNX file with a dynamic batch axis, and its weights; return the ONNX file."""
    torch.manual_seed(0)
    model = MODELS[name]
    module = model.make()
    if model.settle:
        settle(module, model.size)
    torch.save(module.state_dict(), folder / f"{name}.pt")
    module = load(name, folder)
    path = folder / f"{name}.onnx"
    images = torch.rand(2, 3, model.size, model.size)
    with torch.no_grad():
        found = module(images)
    outputs = [f"output{number}" for number in range(len(found) if isinstance(found, tuple) else 1)]
    torch.onnx.export(
        module,
        (images,),
        str(path),
        input_names=["images"],
        output_names=outputs,
        dynamic_axes={tensor: {0: "batch"} for tensor in ("images", *outputs)},
        opset_version=OPSET,
        dynamo=False,
    )
    return path


def settle(module: nn.Module, size: int) -> None:
    """Set the means and variances of all normalisations from random images."""
    for normalization in module.modules():
        if isinstance(normalization, nn.BatchNorm2d):
            normalization.momentum = None  # a plain mean over the batches
    module.train()
    with torch.no_grad():
        for _ in range(2):
            module(torch.rand(4, 3, size, size))


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(description="Export the networks of the benchmark to ONNX.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all if none")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models or MODELS:
        path = export(name, arguments.folder)
        sys.stdout.write(f"{path}: {path.stat().st_size / 2**20:.1f} MiB\n")


if __name__ == "__main__":
    main()
