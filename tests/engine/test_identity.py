"""What an engine is, and in words what it is not."""

import hashlib
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.engine.errors import EngineError
from edge_app.engine.identity import DeviceFacts, EngineIdentity, differences, hash_model
from edge_app.engine.options import BuildOptions, HardwareCompatibility, Precision, Profile
from tests.engine.models import detector

TEXT = st.text("0123456789abcdef.", min_size=1, max_size=12)
DEVICES = st.builds(DeviceFacts, tensorrt=TEXT, cuda=TEXT, gpu=TEXT, compute_capability=TEXT, l4t=TEXT)
SIZES = st.integers(1, 4096)
PROFILES = st.builds(
    lambda width, height, batches: Profile(width, height, *sorted(batches)),
    SIZES,
    SIZES,
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64)),
)
OPTIONS = st.builds(
    BuildOptions,
    optimization_level=st.integers(0, 5),
    dla_core=st.none() | st.integers(0, 1),
    version_compatible=st.booleans(),
    hardware_compatibility=st.sampled_from(HardwareCompatibility),
    tf32=st.booleans(),
)
IDENTITIES = st.builds(
    EngineIdentity,
    model_sha256=TEXT,
    device=DEVICES,
    precision=st.sampled_from(Precision),
    profile=PROFILES,
    options=OPTIONS,
    calibration_sha256=st.none() | TEXT,
    recipe=st.integers(1, 9),
)
ORIN = DeviceFacts("8.6.0", "12.2", "Orin", "8.7", "36.3")
BUILT = EngineIdentity("a" * 64, ORIN, Precision.FP16, Profile(416, 416, 1, 4, 8))


@settings(deadline=None)
@given(IDENTITIES)
def test_an_identity_is_itself_after_a_round_trip(identity: EngineIdentity) -> None:
    again = EngineIdentity.from_json(identity.to_json())
    assert again == identity
    assert again.digest == identity.digest
    assert differences(again, identity) == []


@settings(deadline=None)
@given(IDENTITIES, IDENTITIES)
def test_different_identities_have_different_digests(one: EngineIdentity, other: EngineIdentity) -> None:
    assert (one == other) == (one.digest == other.digest)


@settings(deadline=None)
@given(IDENTITIES, IDENTITIES)
def test_each_field_counts(built: EngineIdentity, other: EngineIdentity) -> None:
    built = replace(built, options=BuildOptions())
    for field in fields(EngineIdentity):
        wanted = replace(built, **{field.name: getattr(other, field.name)})
        if field.name == "calibration_sha256" and wanted.calibration_sha256 is None:
            continue
        assert bool(differences(built, wanted)) == (built != wanted), field.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": replace(ORIN, tensorrt="10.3.0")}, "built for TensorRT 8.6.0, this is 10.3.0"),
        ({"device": replace(ORIN, cuda="12.6")}, "built for CUDA 12.2, this is 12.6"),
        ({"device": replace(ORIN, gpu="Thor")}, "built on GPU Orin, this is Thor"),
        (
            {"device": replace(ORIN, compute_capability="11.0")},
            "built for compute capability 8.7, this is 11.0",
        ),
        ({"device": replace(ORIN, l4t="")}, "built on L4T 36.3, this is none"),
        ({"model_sha256": "b" * 64}, "built from model aaaaaaaaaaaa, this is bbbbbbbbbbbb"),
        ({"precision": Precision.INT8}, "built with precision fp16, wanted is int8"),
        ({"profile": Profile(416, 416, 1, 4, 16)}, "built with max_batch 8, wanted is 16"),
        ({"options": BuildOptions(dla_core=0)}, "built with dla_core none, wanted is 0"),
        ({"calibration_sha256": "c" * 64}, "calibrated with frames none, these are cccccccccccc"),
        ({"recipe": 99}, f"converted by recipe {BUILT.recipe}, this is recipe 99"),
    ],
)
def test_a_difference_is_told_in_words(change: dict[str, Any], words: str) -> None:
    assert differences(BUILT, replace(BUILT, **change)) == [words]


@pytest.mark.parametrize(
    ("version", "fits"),
    [("8.6.0", True), ("8.6.2", True), ("10.3.0", True), ("11.0.0", False), ("8.5.3", False)],
)
def test_a_version_compatible_engine_serves_the_same_and_the_next_major(version: str, fits: bool) -> None:
    built = replace(BUILT, options=BuildOptions(version_compatible=True))
    wanted = replace(built, device=replace(ORIN, tensorrt=version))
    assert (differences(built, wanted) == []) == fits


@pytest.mark.parametrize(
    ("level", "gpu", "capability", "fits"),
    [
        (HardwareCompatibility.SAME_COMPUTE_CAPABILITY, "Orin Nano", "8.7", True),
        (HardwareCompatibility.SAME_COMPUTE_CAPABILITY, "Orin Nano", "8.6", False),
        (HardwareCompatibility.AMPERE_PLUS, "RTX 4090", "8.9", True),
        (HardwareCompatibility.AMPERE_PLUS, "T4", "7.5", False),
        (HardwareCompatibility.NONE, "Orin Nano", "8.7", False),
    ],
)
def test_a_hardware_compatible_engine_serves_other_gpus(
    level: HardwareCompatibility, gpu: str, capability: str, fits: bool
) -> None:
    built = replace(BUILT, options=BuildOptions(hardware_compatibility=level))
    wanted = replace(built, device=replace(ORIN, gpu=gpu, compute_capability=capability))
    assert (differences(built, wanted) == []) == fits


def test_a_model_in_one_file_has_the_hash_that_sha256sum_prints(model: Path) -> None:
    printed = subprocess.run(["sha256sum", model], capture_output=True, text=True, check=True).stdout
    assert hash_model(model) == printed.split()[0]


def test_external_data_belongs_to_the_model(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    onnx.save_model(detector(), str(path), save_as_external_data=True, location="big.data", size_threshold=64)
    before = hash_model(path)
    assert before != hashlib.sha256(path.read_bytes()).hexdigest()
    data = tmp_path / "big.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    assert hash_model(path) != before
    data.unlink()
    with pytest.raises(EngineError, match=r"big\.data: cannot be read.*every data file"):
        hash_model(path)


def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "big.onnx"
    onnx.save_model(detector(), str(path), save_as_external_data=True, location="big.data", size_threshold=64)
    path.write_bytes(path.read_bytes().replace(b"big.data", b"../.data"))
    with pytest.raises(EngineError, match="outside the model's folder"):
        hash_model(path)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"location" * 9)
    with pytest.raises(EngineError, match="not an ONNX model"):
        hash_model(path)
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        hash_model(tmp_path / "absent.onnx")
    path.write_bytes(b"")
    assert hash_model(path) == hashlib.sha256(b"").hexdigest()
