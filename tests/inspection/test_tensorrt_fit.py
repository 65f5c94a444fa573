"""What is said about TensorRT before a build."""

import numpy as np
import pytest
from onnx import NodeProto, helper

from edge_app.inspection.model import inspect_model
from tests.inspection.conftest import Make, Save


def test_a_plain_model_has_no_warning(make: Make, save: Save) -> None:
    assert inspect_model(save(make())).warnings == ()


@pytest.mark.parametrize(("opset", "warned"), [(17, False), (18, True)])
def test_an_opset_that_is_too_new_is_named(make: Make, save: Save, opset: int, warned: bool) -> None:
    warnings = inspect_model(save(make(opset=opset))).warnings
    assert any("newer than what TensorRT 8.6" in warning for warning in warnings) is warned


def test_dynamic_axes_other_than_the_batch_are_named(make: Make, save: Save) -> None:
    model = make(
        [helper.make_node("Relu", ["images"], ["output0"])],
        inputs={"images": ["batch", 3, "height", None]},
        outputs={"output0": ["batch", 3, "height", None]},
    )
    warnings = inspect_model(save(model)).warnings
    assert [warning.partition(" is dynamic in axis ")[2][:4] for warning in warnings] == ["2, 3", "2, 3"]


def test_a_fixed_batch_is_named(make: Make, save: Save) -> None:
    model = make(inputs={"images": [1, 3, 64, 96]}, outputs={"output0": [1, 3 * 64 * 96]})
    assert inspect_model(save(model)).warnings == (
        "the batch is fixed to 1: cameras cannot share a batch of another size",
    )


def flatten(*before: NodeProto) -> list[NodeProto]:
    return [*before, helper.make_node("Flatten", ["images"], ["output0"])]


def test_data_dependent_operators_are_named(make: Make, save: Save) -> None:
    nodes = flatten(helper.make_node("NonZero", ["images"], ["places"]))
    warnings = inspect_model(save(make(nodes))).warnings
    assert any(warning.startswith("NonZero (1): the shape of its result") for warning in warnings)


def test_control_flow_is_named(make: Make, save: Save) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", 1, ["batch", 3, 64, 96])],
    )
    nodes = flatten(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    warnings = inspect_model(save(make(nodes, constants={"yes": np.array(True)}))).warnings
    assert any(warning.startswith("If (1): control flow") for warning in warnings)


def test_foreign_operators_are_named(make: Make, save: Save) -> None:
    nodes = flatten(helper.make_node("EfficientNMS_TRT", ["images"], ["boxes"], domain="TRT"))
    warnings = inspect_model(save(make(nodes))).warnings
    assert "operators that are not ONNX's own need a plugin: TRT::EfficientNMS_TRT" in warnings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            [1, 2, 3],
            "3 INT64 constants: TensorRT before 10 says that it makes INT32 of them; all of them fit",
        ),
        ([np.iinfo(np.int64).max], "1 INT64 constants"),
        ([2**31], "INT64 constants that INT32 cannot hold, which TensorRT before 10 needs: big"),
        ([-(2**40), 1], "INT64 constants that INT32 cannot hold, which TensorRT before 10 needs: big"),
    ],
)
def test_wide_integers_are_named(make: Make, save: Save, values: list[int], words: str) -> None:
    (warning,) = inspect_model(save(make(constants={"big": np.array(values, np.int64)}))).warnings
    assert warning.startswith(words)


def test_double_precision_is_named(make: Make, save: Save) -> None:
    (warning,) = inspect_model(save(make(constants={"wide": np.ones(2, np.float64)}))).warnings
    assert "FP64" in warning


@pytest.mark.parametrize(("zero", "warned"), [(0, False), (7, True)])
def test_asymmetric_quantisation_is_named(make: Make, save: Save, zero: int, warned: bool) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["back"]),
        helper.make_node("Flatten", ["back"], ["output0"]),
    ]
    constants = {"scale": np.float32(0.1), "zero": np.int8(zero)}
    found = inspect_model(save(make(nodes, constants=constants)))
    assert found.facts.precision == "int8 (Q/DQ)"
    assert any("zero points other than 0" in warning for warning in found.warnings) is warned
