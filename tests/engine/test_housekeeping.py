"""What lies in a store, and what of it goes."""

from dataclasses import replace

from edge_app.engine.housekeeping import find_removable, judge_engines, prune
from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.options import Precision, Profile
from edge_app.engine.store import EngineStore
from tests.engine.test_store import add, add_good, describe


def test_only_what_can_serve_here_stays(store: EngineStore, device: DeviceFacts) -> None:
    identity = EngineIdentity("a" * 64, device, Precision.FP16, Profile(64, 64))
    good = add_good(store, identity, b"good")
    older = replace(identity, precision=Precision.FP32, device=replace(device, tensorrt="8.5.2"))
    add_good(store, older, b"older")
    refused = replace(identity, precision=Precision.INT8)
    store.refuse(add(store, describe(refused, b"refused"), b"refused"), {"faults": ["90 % match"]})
    (store.directory / ".tmp-0-plan").write_bytes(b"half")
    (store.directory / f"demo-int8-{'a' * 12}-{'c' * 64}-r0.onnx").write_bytes(b"old recipe")
    current = store.quantized_path("demo", "a" * 64, "c" * 64)
    current.write_bytes(b"onnx")
    timings = store.timing_cache_path("demo", identity)
    timings.write_bytes(b"timings")

    verdicts = {verdict.engine.plan_path: verdict.reasons for verdict in judge_engines(store, device)}
    assert verdicts.pop(good.plan_path) == ()
    assert sorted(verdicts.values()) == [
        ("built for TensorRT 8.5.2, this is 8.6.0",),
        ("refused: 90 % match",),
    ]
    removed = prune(store, device)
    assert len(removed) == 4
    assert all(removal.reason for removal in removed)
    kept = {path for path in store.directory.iterdir() if path.name != ".lock"}
    assert kept == {good.plan_path, good.manifest_path, current, timings}
    assert find_removable(store, device) == []
    assert store.last_calibration("demo", "a" * 64) == "c" * 64
