"""What differs between TensorRT versions, on stand-ins for those that are not here.

The names on the stand-ins are checked against real bindings by the table of TensorRT attributes.
"""

import enum
from types import SimpleNamespace
from typing import Any

import pytest

from edge_app.engine.compat import Builder, is_strongly_typed, resolve_shape, version_of
from edge_app.engine.errors import BuildError
from edge_app.engine.options import BuildOptions, HardwareCompatibility, Precision, Profile
from edge_app.engine.parser_errors import collect_faults
from edge_app.engine.precision.constraints import constrain_layers
from tests.engine.models import detector

MIB = 1 << 20


class Config:
    """Remembers what a builder configuration was told."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.cleared: set[str] = set()
        self.previews: set[str] = set()
        self.pools: dict[str, int] = {}
        self.hardware_compatibility_level: Any = None
        self.default_device_type: Any = None
        self.DLA_core: int | None = None

    def set_flag(self, flag: enum.Enum) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: enum.Enum) -> None:
        self.cleared.add(flag.name)

    def set_preview_feature(self, feature: enum.Enum, on: bool) -> None:
        assert on
        self.previews.add(feature.name)

    def set_memory_pool_limit(self, pool: enum.Enum, limit_bytes: int) -> None:
        self.pools[pool.name] = limit_bytes


def stand_in(version: str) -> Any:
    """The names of TensorRT `version` that a configuration touches."""
    major, minor = (int(part) for part in version.split(".")[:2])
    weak = ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"] if major < 11 else []
    network = (["EXPLICIT_BATCH"] if major < 11 else []) + (["STRONGLY_TYPED"] if major >= 10 else [])
    levels = ["NONE", "AMPERE_PLUS"] + (["SAME_COMPUTE_CAPABILITY"] if (major, minor) >= (10, 12) else [])
    return SimpleNamespace(
        __version__=version,
        BuilderFlag=enum.Enum("BuilderFlag", ["TF32", "GPU_FALLBACK", "VERSION_COMPATIBLE", *weak]),
        NetworkDefinitionCreationFlag=enum.IntEnum("Creation", network, start=0),
        PreviewFeature=enum.Enum("Preview", ["PROFILE_SHARING_0806"] if major < 11 else ["OTHER"]),
        HardwareCompatibilityLevel=enum.Enum("Level", levels),
        MemoryPoolType=enum.Enum("Pool", ["WORKSPACE"]),
        ProfilingVerbosity=enum.Enum("Verbosity", ["DETAILED"]),
        DeviceType=enum.Enum("Device", ["GPU", "DLA"]),
    )


def configure(
    version: str, precision: Precision, options: BuildOptions | None = None, dla: int = 0
) -> Config:
    config = Config()
    builder = SimpleNamespace(create_builder_config=lambda: config, num_DLA_cores=dla)
    Builder(stand_in(version), None).configure(builder, precision, options or BuildOptions(), 64 * MIB)
    return config


@pytest.mark.parametrize(
    ("version", "bits", "strong"),
    [
        ("8.6.2", 1, False),
        ("10.3.0", 0, False),
        ("10.12.0", 2, True),
        ("10.16.2", 2, True),
        ("11.4.1", 1, True),
    ],
)
def test_networks_are_typed_as_the_version_wants(version: str, bits: int, strong: bool) -> None:
    trt = stand_in(version)
    asked: list[int] = []
    Builder(trt, None).create_network(SimpleNamespace(create_network=asked.append))
    assert asked == [bits]
    assert is_strongly_typed(trt) is strong


def test_versions_are_numbers() -> None:
    assert version_of(stand_in("8.6.2.post1")) == (8, 6, 2)
    assert version_of(stand_in("10.3.0")) == (10, 3, 0)
    assert version_of(stand_in("11.4.1")) == (11,)


@pytest.mark.parametrize("version", ["8.6.0", "10.3.0"])
@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        (Precision.FP32, set()),
        (Precision.FP16, {"FP16", "OBEY_PRECISION_CONSTRAINTS"}),
        (Precision.INT8, {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}),
    ],
)
def test_where_typing_is_weak_flags_say_the_precision(
    version: str, precision: Precision, flags: set[str]
) -> None:
    config = configure(version, precision)
    assert config.flags == flags
    assert config.previews == {"PROFILE_SHARING_0806"}
    assert config.pools == {"WORKSPACE": 64 * MIB}


@pytest.mark.parametrize("version", ["10.12.0", "11.4.1"])
@pytest.mark.parametrize("precision", Precision)
def test_where_typing_is_strong_no_flag_does(version: str, precision: Precision) -> None:
    assert configure(version, precision).flags == set()


def test_options_become_flags() -> None:
    options = BuildOptions(
        dla_core=1,
        version_compatible=True,
        hardware_compatibility=HardwareCompatibility.SAME_COMPUTE_CAPABILITY,
        tf32=False,
    )
    config = configure("10.12.0", Precision.FP16, options, dla=2)
    assert config.flags == {"VERSION_COMPATIBLE", "GPU_FALLBACK"}
    assert config.cleared == {"TF32"}
    assert config.hardware_compatibility_level.name == "SAME_COMPUTE_CAPABILITY"
    assert config.default_device_type.name == "DLA"
    assert config.DLA_core == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BuildOptions(dla_core=0), "this device has no DLA cores"),
        (
            BuildOptions(hardware_compatibility=HardwareCompatibility.SAME_COMPUTE_CAPABILITY),
            "TensorRT 8.6.0 has no hardware compatibility 'same_compute_capability', only none, ampere_plus",
        ),
    ],
)
def test_what_is_not_there_is_told(options: BuildOptions, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        configure("8.6.0", Precision.FP16, options)


@pytest.mark.parametrize(
    ("shape", "resolved"),
    [
        ((-1, 3, 64, 96), (4, 3, 64, 96)),
        ((-1, 3, -1, -1), (4, 3, 64, 96)),
        ((4, 3, 64, 96), (4, 3, 64, 96)),
        ((-1, 64, 96, 3), (4, 64, 96, 3)),
        ((-1, 2), (4, 2)),
    ],
)
def test_a_profile_fills_in_batch_and_size(shape: tuple[int, ...], resolved: tuple[int, ...]) -> None:
    assert resolve_shape("images", shape, Profile(96, 64, 1, 1, 4), 4) == resolved


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 64, 96), "fixed batch of 1, but the profile asks for 4"),
        ((-1, 3, 32, 32), r"is \[\?, 3, 32, 32\], which the profile \[4, 3, 64, 96\] does not fit"),
        ((-1, -1), "Only batch, height and width may be dynamic"),
        ((-1, 1, 64, 96), "does not fit"),
    ],
)
def test_a_shape_that_does_not_fit_is_told(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(BuildError, match=words):
        resolve_shape("images", shape, Profile(96, 64, 1, 1, 4), 4)


class OldParser:
    """The errors of TensorRT 8.6, which hold a node's number and no name."""

    num_errors = 2

    def supports_operator(self, operator: str) -> bool:
        return operator != "Exp"

    def get_error(self, index: int) -> Any:
        texts = ("Assertion failed: No importer registered for op: Foo", "Assertion failed: INT64 overflow")
        return SimpleNamespace(
            desc=lambda: texts[index], code=lambda: 8, node=lambda: index * 5, file=lambda: "x.cpp"
        )


def test_errors_of_the_parser_name_the_node() -> None:
    nodes = detector().graph.node
    first, second, third = collect_faults(OldParser(), nodes)
    assert str(first) == (
        "Conv 'stem': Assertion failed: No importer registered for op: Foo "
        "(TensorRT has no such operator: export without it, or with another opset)"
    )
    assert (second.node, second.operator) == (nodes[5].name, nodes[5].op_type)
    assert "INT32" in second.hint
    assert str(third).startswith("Exp 'exp': unsupported operator (TensorRT has no such operator")


class Layer:
    """A layer of a weakly typed network."""

    def __init__(self, name: str, dtype: str, metadata: str = "", kind: str = "CONVOLUTION") -> None:
        self.name, self.metadata, self.type = name, metadata, kind
        self.num_outputs = 1
        self.precision: str | None = None
        self.output_type: str | None = None
        self._output = SimpleNamespace(dtype=dtype, is_shape_tensor=False)

    def get_output(self, _: int) -> Any:
        return self._output

    def set_output_type(self, _: int, dtype: str) -> None:
        self.output_type = dtype


def test_layers_of_kept_nodes_are_bound_to_fp32() -> None:
    trt: Any = SimpleNamespace(
        DataType=SimpleNamespace(FLOAT="f", HALF="h"),
        LayerType=SimpleNamespace(CONSTANT="CONSTANT", SHAPE="SHAPE", QUANTIZE="QUANTIZE"),
    )
    layers = [
        Layer("softmax", "f"),
        Layer("(Unnamed Layer* 3) [Shuffle]", "f", metadata="[ONNX Layer: softmax]"),
        Layer("conv", "f"),
        Layer("softmax_2", "i", metadata="[ONNX Layer: softmax]"),
        Layer("softmax", "f", kind="CONSTANT"),
        Layer("softmax_17", "f"),
        Layer("softmax_1", "f"),
    ]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    assert constrain_layers(trt, network, {"softmax"}, {"softmax", "softmax_1", "conv"}) == 3
    expected = ["f", "f", None, None, None, "f", None]
    assert [layer.precision for layer in layers] == expected
    assert [layer.output_type for layer in layers] == expected
