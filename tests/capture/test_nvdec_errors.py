"""What becomes of the errors of NVIDIA's decoder and of CUDA: a library that fails takes its place."""

# ruff: noqa: N802 - the names are the library's

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from edge_app.errors import BackendError, DecoderError
from edge_app.gpu import nvdec
from edge_app.gpu.resource import live_resources
from edge_app.interfaces import EncodedPacket, VideoStream


class NativeError(Exception):
    """As PyNvVCException."""


class UnsupportedError(NativeError):
    """As PyNvVCExceptionUnsupported."""


class Native:
    """A decoder whose calls fail as told."""

    def __init__(self, fails: dict[str, Exception]) -> None:
        self._fails = fails
        self.unlocked: list[int] = []

    def _try(self, name: str) -> None:
        if name in self._fails:
            raise self._fails[name]

    def GetNumDecodedFrame(self, packet: Any) -> int:
        self._try("decode")
        return 1

    def GetWidth(self) -> int:
        return 320

    def GetHeight(self) -> int:
        return 240

    def GetPixelFormat(self) -> Any:
        return SimpleNamespace(name="NV12")

    def GetLockedFrame(self) -> int:
        self._try("lock")
        return 4096

    def SyncOnCUStream(self) -> None:
        self._try("synchronise")

    def UnlockFrame(self, address: int) -> None:
        self._try("unlock")
        self.unlocked.append(address)


class Stream:
    handle = 1

    def close(self) -> None:
        pass


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """Calls that fail, by their names; to be filled by the test."""
    fails: dict[str, Exception] = {}

    def create(**_: Any) -> Native:
        if "create" in fails:
            raise fails["create"]
        return Native(fails)

    def make_stream() -> Stream:
        if "stream" in fails:
            raise fails["stream"]
        return Stream()

    library = SimpleNamespace(
        PyNvVCException=NativeError,
        PyNvVCExceptionUnsupported=UnsupportedError,
        CreateDecoder=create,
        PacketData=SimpleNamespace,
        VideoPacketFlag=SimpleNamespace(ENDOFPICTURE=1, ENDOFSTREAM=2),
        DisplayDecodeLatencyType=SimpleNamespace(LOW=1),
        cudaVideoCodec=SimpleNamespace(H264=1),
    )
    gpu = SimpleNamespace(ordinal=0, handle=1, attach=contextlib.nullcontext)
    monkeypatch.setattr(nvdec, "nvdec_library", lambda: library)
    monkeypatch.setattr(nvdec, "open_gpu", lambda device: gpu)
    monkeypatch.setattr(nvdec, "Stream", make_stream)
    monkeypatch.setattr(nvdec, "StreamQuery", lambda: lambda handle: False)
    return fails


H264 = VideoStream("h264")
PACKET = EncodedPacket(b"\0\0\0\1\x65", keyframe=True)


@pytest.mark.parametrize(
    ("call", "error"),
    [("create", RuntimeError("no session is left")), ("stream", BackendError("out of memory"))],
)
def test_a_decoder_that_cannot_be_had_leaves_the_camera_to_another(
    fails: dict[str, Exception], call: str, error: Exception
) -> None:
    fails[call] = error
    with pytest.raises(DecoderError, match=str(error)) as refusal:
        nvdec.NvdecDecoders().open(H264)
    assert not refusal.value.retry
    assert "video decoder" not in live_resources()


@pytest.mark.parametrize("call", ["decode", "lock", "synchronise", "unlock"])
@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (RuntimeError("it broke"), True),
        (NativeError("it broke"), True),
        (UnsupportedError("it broke"), False),
    ],
)
def test_a_failure_tells_whether_a_new_decoder_may_do_better(
    fails: dict[str, Exception], call: str, error: Exception, retry: bool
) -> None:
    decoder = nvdec.NvdecDecoders().open(H264)
    (found,) = decoder.decode(PACKET)
    found.lease.release()
    fails[call] = error
    with pytest.raises(DecoderError, match="it broke") as failure:
        decoder.decode(PACKET)
    assert failure.value.retry is retry
    decoder.close()
    assert "video decoder" not in live_resources()


def test_a_picture_is_given_back_once(fails: dict[str, Exception]) -> None:
    decoder = nvdec.NvdecDecoders().open(H264)
    (found,) = decoder.decode(PACKET)
    found.lease.release()
    found.lease.release()
    (again,) = decoder.decode(PACKET)
    assert decoder._native.unlocked == [4096]
    decoder.close()
    again.lease.release()
    with pytest.raises(DecoderError, match="closed"):
        decoder.decode(PACKET)
