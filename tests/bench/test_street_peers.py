"""The benchmark of the street beside its peers: what can be seen of it without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from benchmarks import street_peers
from benchmarks.street_peers import decode, letterbox, lines, main, read_options, to_image
from benchmarks.trtutils_export import append_nms
from edge_app.bench.nms import ANCHORS, CLASSES, Scene, random_output
from edge_app.errors import EdgeAppError
from edge_app.geometry import InputSpec, Letterbox
from edge_app.messages import Frame, FrameInfo
from edge_app.postprocess.heads.selection import Selection
from edge_app.postprocess.heads.yolov8 import YoloV8Head
from edge_app.postprocess.nms import non_max_suppression
from edge_app.preprocess.letterbox import CpuPreprocessor

ALL = np.full(CLASSES, 0.25, np.float32)
IMAGE_WH = (1920, 1080)


def only(*classes: int) -> NDArray[np.float32]:
    thresholds = np.full(CLASSES, np.inf, np.float32)
    thresholds[list(classes)] = 0.25
    return thresholds


def saturated_output(seed: int = 0) -> NDArray[np.float32]:
    """Nearly every anchor is quite sure of several classes, as random weights are."""
    random = np.random.default_rng(seed)
    output = random_output(0, Scene.SCATTERED, seed)
    output[0, 4:] = np.clip(random.normal(0, 1, (CLASSES, ANCHORS)), 0, 1)
    return output


@pytest.mark.parametrize(
    ("output", "thresholds"),
    [
        (random_output(40, Scene.PILED), only(7)),
        (random_output(300, Scene.PILED, seed=1), only(3)),
        (saturated_output(), only(11)),
        (random_output(4, Scene.SCATTERED, seed=3), only(*range(60))),
        (random_output(0, Scene.SCATTERED), ALL),
        (random_output(1, Scene.SCATTERED, seed=2), ALL),
    ],
)
def test_the_tutorials_loop_finds_what_edge_app_finds(
    output: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> None:
    most = 300
    expected = YoloV8Head("output0", Selection(thresholds, ANCHORS)).decode({"output0": output}, 1)[0]
    kept = non_max_suppression(
        expected.xyxy, expected.confidence, expected.class_id, iou_threshold=0.7, max_detections=most
    )
    xyxy, confidence, class_id = decode(output[0], thresholds, 0.7, most)
    np.testing.assert_allclose(confidence, expected.confidence[kept], rtol=1e-6)
    np.testing.assert_array_equal(np.sort(class_id), np.sort(expected.class_id[kept]))
    np.testing.assert_allclose(
        np.sort(xyxy, axis=0), np.sort(expected.xyxy[kept], axis=0), rtol=1e-5, atol=1e-3
    )


def test_of_boxes_that_overlap_across_classes_the_loop_keeps_one() -> None:
    output = np.zeros((4 + CLASSES, ANCHORS), np.float32)
    output[:4, :2] = [[100], [100], [50], [50]]
    output[4 + 3, 0], output[4 + 5, 1] = 0.9, 0.8
    _, confidence, class_id = decode(output, ALL, 0.7, 300)
    assert (confidence.tolist(), class_id.tolist()) == ([pytest.approx(0.9)], [3])


def test_its_letterbox_is_edge_apps() -> None:
    width, height = IMAGE_WH
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    spec = InputSpec(640, 640)
    expected = np.empty((3, 640, 640), np.float32)
    CpuPreprocessor(spec).write(Frame(FrameInfo("test", 0, 0, 0, width, height), image), expected)
    tensor, scale, offset = letterbox(image, 640)
    np.testing.assert_allclose(tensor[0], expected, atol=2e-6)
    assert offset == Letterbox.fit(IMAGE_WH, spec).offset_xy
    box = np.array([[0, 140, 640, 500]], np.float32)
    found = to_image((box, np.ones(1, np.float32), np.zeros(1, np.int64)), scale, offset)[0]
    np.testing.assert_allclose(found, [[0, 0, width, height]], atol=1e-3)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("wanted", [(0,), (11,), (79,), (2, 7)])
def test_only_the_best_wanted_classes_reach_the_plugin(wanted: tuple[int, ...], opset: int) -> None:
    output = saturated_output()
    boxes, scores = inputs_of_plugin(append_nms(raw_model(opset), only(*wanted), 0.7, 300), output)
    np.testing.assert_array_equal(boxes, output[:, :4].transpose(0, 2, 1))
    best = output[0, 4:].argmax(axis=0)
    expected = np.zeros((ANCHORS, CLASSES), np.float32)
    for row in wanted:
        anchors = np.flatnonzero(best == row)
        expected[anchors, row] = output[0, 4 + row, anchors]
    np.testing.assert_array_equal(scores[0], expected)


def test_where_all_classes_are_wanted_the_plugin_gets_all_scores() -> None:
    output = random_output(20, Scene.SCATTERED)
    _, scores = inputs_of_plugin(append_nms(raw_model(), ALL, 0.7, 300), output)
    np.testing.assert_array_equal(scores, output[:, 4:].transpose(0, 2, 1))


def test_the_plugin_has_the_configurations_thresholds() -> None:
    model = append_nms(raw_model(), only(11), 0.6, 50)
    onnx.checker.check_model(model)
    plugin = model.graph.node[-1]
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in plugin.attribute}
    assert (plugin.op_type, plugin.domain) == ("EfficientNMS_TRT", "TRT")
    assert settings == {
        "plugin_version": b"1",
        "background_class": -1,
        "score_activation": 0,
        "box_coding": 1,
        "score_threshold": pytest.approx(0.25),
        "iou_threshold": pytest.approx(0.6),
        "max_output_boxes": 50,
    }
    assert [output.name for output in model.graph.output] == list(plugin.output)


def test_one_plugin_has_one_threshold() -> None:
    thresholds = ALL.copy()
    thresholds[3] = 0.5
    with pytest.raises(EdgeAppError, match=r"one threshold.*0\.25, 0\.5"):
        append_nms(raw_model(), thresholds, 0.7, 300)


def test_prepare_writes_an_export_with_the_classes_of_the_configuration(tmp_path: Path) -> None:
    onnx.save(raw_model(), tmp_path / "raw.onnx")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"c{number}" for number in range(CLASSES)))
    config = tmp_path / "edge.yaml"
    model = f"model: {{path: {tmp_path / 'raw.onnx'}, labels: {labels}}}"
    config.write_text(f"{model}\npostprocess: {{classes: [c11], confidence_threshold: 0.5}}\n")
    main(["--config", str(config), "--prepare", str(tmp_path / "raw.onnx"), str(tmp_path / "nms.onnx")])
    prepared = onnx.load(tmp_path / "nms.onnx")
    onnx.checker.check_model(prepared)
    assert len(prepared.graph.output) == 4
    assert sum(node.op_type == "ReduceMax" for node in prepared.graph.node) == 2


def test_the_command_line() -> None:
    options = read_options([])
    assert (options.rounds, options.seconds, options.cameras, options.pinned) == (5, 2.0, 4, False)
    options = read_options(["--build", "a.onnx", "a.engine", "--timing-cache", "a.timing", "--level", "1"])
    assert options.build == [Path("a.onnx"), Path("a.engine")]
    assert (options.timing_cache, options.level) == (Path("a.timing"), 1)


def test_a_loop_is_timed_over_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street_peers, "WARM_UP_S", 0.01)
    shown: list[int] = []
    images = [np.full((1, 1, 3), value, np.uint8) for value in range(3)]

    def detect(image: NDArray[np.uint8]) -> int:
        shown.append(int(image[0, 0, 0]))
        return 2

    found = street_peers.time_loop(detect, images, 0.05, shown.clear)
    assert shown[:4] == [0, 1, 2, 0]
    assert found.boxes == 2
    assert 0 < found.frames_per_s <= len(shown) / 0.05


@pytest.mark.slow
def test_what_cannot_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, report = tmp_path / "edge.yaml", tmp_path / "peers.json"
    config.write_text("inference: {backend: onnxruntime}\n")
    arguments = ["--config", str(config), "--rounds", "1", "--seconds", "0.3", "--cameras", "1"]
    main([*arguments, "--json", str(report)])
    result = json.loads(report.read_text())
    assert result["median"]["edge_app"]["frames_per_s"] > 0
    assert result["edge_app_to_peer"] == {}
    assert set(result["not_run"]) == {"tutorial", "trtutils"}
    assert all("Error: " in why for why in result["not_run"].values())
    assert "trtutils: not run: " in capsys.readouterr().out


def test_ratios_are_of_the_same_round() -> None:
    contest = street_peers.Contest()
    for way, speeds in (("edge_app", (100.0, 300.0, 200.0)), ("tutorial", (50.0, 100.0, 50.0))):
        contest.rounds[way] = [
            {"frames_per_s": speed, "boxes": 1.0, "cpu": 1.0, "stages_ms": {}} for speed in speeds
        ]
    result = contest.result()
    assert result["edge_app_to_peer"]["tutorial"] == {"median": 3.0, "rounds": [2.0, 3.0, 4.0]}
    assert result["median"]["edge_app"]["frames_per_s"] == 200
    assert "edge_app has 3.00 times that" in lines(result)[1]


def raw_model(opset: int = 17) -> ModelProto:
    """Hand the input on as the output of a detector without suppression."""
    shape: list[str | int | None] = ["batch", 4 + CLASSES, ANCHORS]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "output0")]
    node = helper.make_node("Identity", ["images"], ["output0"])
    graph = helper.make_graph([node], "raw", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def inputs_of_plugin(model: ModelProto, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run all but the plugin, with ONNX Runtime."""
    import onnxruntime

    names = list(model.graph.node[-1].input)
    del model.graph.node[-1]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(found, np.float32) for found in session.run(names, {"images": output})]


def test_a_place_for_the_result_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(EdgeAppError, match="cannot be written: No such file or directory"):
        main(["--json", str(tmp_path / "nowhere" / "x.json")])
