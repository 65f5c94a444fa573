"""The node's state follows from its cameras'."""

from edge_app.messages import CameraState, CameraStatus, NodeState
from edge_app.ops.node import NodeWatch, host_node_name


class Recorder:
    def __init__(self) -> None:
        self.cameras: list[tuple[str, CameraState]] = []
        self.nodes: list[tuple[NodeState, str | None]] = []

    def camera_changed(self, status: CameraStatus) -> None:
        self.cameras.append((status.camera_id, status.state))

    def set_node_state(self, state: NodeState, reason: str | None) -> None:
        self.nodes.append((state, reason))


def make_watch() -> tuple[NodeWatch, Recorder]:
    recorder = Recorder()
    return NodeWatch(["a", "b"], recorder, recorder.set_node_state), recorder


def test_a_node_is_degraded_while_a_camera_is_away() -> None:
    watch, recorder = make_watch()
    watch.starting()
    watch.running()
    for state in (CameraState.STREAMING, CameraState.LOST, CameraState.CONNECTING, CameraState.STREAMING):
        watch.camera_changed(CameraStatus("a", state))
    watch.stopping("SIGTERM")
    watch.camera_changed(CameraStatus("a", CameraState.LOST))
    assert recorder.nodes == [
        (NodeState.STARTING, None),
        (NodeState.ONLINE, None),
        (NodeState.DEGRADED, "a lost"),
        (NodeState.ONLINE, None),
        (NodeState.STOPPING, "SIGTERM"),
    ]


def test_every_camera_has_a_state_from_the_start() -> None:
    watch, recorder = make_watch()
    watch.starting()
    assert recorder.cameras == [("a", CameraState.CONNECTING), ("b", CameraState.CONNECTING)]


def test_no_camera_streams_on_when_the_node_has_stopped() -> None:
    watch, recorder = make_watch()
    watch.running()
    watch.camera_changed(CameraStatus("a", CameraState.STREAMING, decoder="ffmpeg"))
    watch.camera_changed(CameraStatus("b", CameraState.ENDED))
    recorder.cameras.clear()
    watch.stopping("SIGTERM")
    watch.camera_changed(CameraStatus("a", CameraState.LOST, "its reader came back late"))
    assert recorder.cameras == [("a", CameraState.ENDED)]
    stopped = CameraStatus("a", CameraState.ENDED, "the daemon was stopped", decoder="ffmpeg")
    assert watch.statuses() == {"a": stopped, "b": CameraStatus("b", CameraState.ENDED)}


def test_what_does_not_change_is_not_told_again() -> None:
    watch, recorder = make_watch()
    watch.running()
    watch.camera_changed(CameraStatus("a", CameraState.STALLED))
    watch.camera_changed(CameraStatus("b", CameraState.STREAMING))
    assert recorder.nodes == [(NodeState.ONLINE, None), (NodeState.DEGRADED, "a stalled")]


def test_the_host_name_fits_into_a_topic() -> None:
    name = host_node_name()
    assert name
    assert not set(name) & set("/+# ")


def test_what_takes_so_long_at_the_start_is_told_once_each() -> None:
    watch, recorder = make_watch()
    for reason in (None, "building the engine of demo: 5 %", "building the engine of demo: 5 %"):
        watch.starting(reason)
    assert recorder.nodes == [
        (NodeState.STARTING, None),
        (NodeState.STARTING, "building the engine of demo: 5 %"),
    ]
    assert recorder.cameras == [("a", CameraState.CONNECTING), ("b", CameraState.CONNECTING)]


def test_a_build_that_is_left_behind_says_nothing_any_more() -> None:
    watch, recorder = make_watch()
    watch.starting()
    watch.stopping("SIGTERM")
    watch.starting("building the engine of demo: 43 %")
    assert recorder.nodes[-1] == (NodeState.STOPPING, "SIGTERM")


def test_a_camera_that_was_taken_out_ends_and_is_no_reason_any_more() -> None:
    watch, recorder = make_watch()
    watch.running()
    watch.camera_changed(CameraStatus("a", CameraState.LOST))
    watch.camera_changed(CameraStatus("b", CameraState.STREAMING))
    watch.camera_gone("a")
    watch.camera_gone("a")
    assert recorder.cameras[-1] == ("a", CameraState.ENDED)
    assert recorder.cameras.count(("a", CameraState.ENDED)) == 1
    assert recorder.nodes[-1] == (NodeState.ONLINE, None)
    assert set(watch.statuses()) == {"b"}


def test_without_any_camera_left_the_node_says_so() -> None:
    watch, recorder = make_watch()
    watch.running()
    watch.camera_changed(CameraStatus("a", CameraState.LOST))
    watch.camera_changed(CameraStatus("b", CameraState.FROZEN))
    assert recorder.nodes[-1] == (NodeState.DEGRADED, "a lost, b frozen")
    watch.camera_changed(CameraStatus("b", CameraState.STALLED))
    assert recorder.nodes[-1] == (NodeState.DEGRADED, "no camera is left: a lost, b stalled")
