"""The configuration tree: frozen, strict, every key with its default, its bounds and its meaning.

The descriptions are the comments of `configs/edge.yaml`, which lists every key and equals these defaults.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_app.geometry import Align, Color, Fit, Layout

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A node or camera: one level of a topic, one label of a metric."""

Fraction = Annotated[float, Field(ge=0, le=1)]


HeadName = Literal["auto", "yolov8", "end_to_end"]
"""The output formats that can be decoded, by the names of their heads."""


class Section(BaseModel):
    """One section of the configuration: unknown keys refused, nothing converted, nothing changed later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class SecretReference(Section):
    """Where a password is to be found: at most one of the three. The configuration never holds it."""

    password_file: str | None = Field(None, description="File whose first line is the password")
    password_env: str | None = Field(None, description="Environment variable that holds the password")
    password_credential: str | None = Field(
        None, description="Name of a systemd credential (LoadCredential=) that holds the password"
    )


class NodeSection(Section):
    """This machine."""

    name: Name | None = Field(None, description="Name of this node in topics; null: the host's name")


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level shown"
    )


class InputOverrides(Section):
    """What the model's image input wants, where the model's own description is absent or wrong."""

    width: int | None = Field(None, ge=32, le=4096, description="Pixels; null: from the model")
    height: int | None = Field(None, ge=32, le=4096, description="Pixels; null: from the model")
    layout: Layout | None = Field(None, description="Order of the axes; null: from the model")
    color: Color | None = Field(None, description="Order of the channels; null: rgb")
    scale: float | None = Field(None, gt=0, description="Factor for each pixel value; null: 1/255")
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted after scaling; null: 0, 0, 0"
    )
    std: tuple[float, float, float] | None = Field(None, description="Divided by at last; null: 1, 1, 1")
    fit: Fit | None = Field(None, description="How other aspect ratios fit; null: letterbox")
    align: Align | None = Field(None, description="Where a letterboxed image lies; null: center")
    pad_value: int | None = Field(None, ge=0, le=255, description="Value of the padding; null: 114")


class ModelSection(Section):
    """The detector."""

    path: str = Field(
        "demo",
        description="An .onnx file, a .yaml that describes one, or `demo`: the model shipped with edge-app",
    )
    head: HeadName = Field("auto", description="Output format; auto: told by the shapes of the outputs")
    labels: str | tuple[str, ...] | None = Field(
        None, description="List of class names, or a text file with one on each line; null: from the model"
    )
    input: InputOverrides = Field(InputOverrides(), description="Overrides of the model's input")


class InferenceSection(Section):
    """How the model runs."""

    backend: Literal["auto", "tensorrt", "onnxruntime"] = Field(
        "auto",
        description="What runs it: tensorrt is the GPU, onnxruntime the CPU. auto: the GPU where there is "
        "one, and never the CPU beside a GPU that fails. What was chosen is logged and published",
    )
    device: int = Field(0, ge=0, le=63, description="Which GPU")
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the model; 0: one for each core")
    spinning: bool = Field(
        False,
        description="Threads wait actively: about 13 % faster on an idle machine, 45 % slower on a busy one",
    )
    slots: int | None = Field(
        None,
        ge=1,
        le=8,
        description="Batches in flight; null: measured at the start on a GPU, otherwise 2",
    )
    max_batch: int = Field(4, ge=1, le=64, description="Most frames in a batch, one from each camera")
    batch_wait_ms: float = Field(4.0, ge=0, le=1000, description="Longest wait for frames of more cameras")
    max_age_ms: float = Field(500.0, gt=0, le=60000, description="Older frames of live cameras are dropped")


class CalibrationSection(Section):
    """Frames of your own cameras, from which INT8 takes its ranges."""

    source: str | None = Field(
        None,
        description="A folder of images, a video or a camera URI; read for the first INT8 engine of a model "
        "and for edge-app build --rebuild; null: an INT8 engine cannot be built",
    )
    frames: int = Field(
        256,
        ge=8,
        le=10000,
        description="How many, evenly spread where the source has an end; of a camera two of each second",
    )
    method: Literal["minmax", "entropy", "percentile"] = Field(
        "entropy", description="How a range is chosen from them"
    )


class VerificationSection(Section):
    """A new engine beside the model on ONNX Runtime, before it is taken into use."""

    enabled: bool = Field(True, description="false: engines are taken unverified, which their manifest says")
    source: str | None = Field(
        None,
        description="A folder of images, a video or a camera URI; null: that of the calibration, "
        "or rendered scenes",
    )
    frames: int = Field(16, ge=1, le=1000, description="How many frames are compared")
    matched: Fraction | None = Field(
        None, description="Least share of boxes found by both; null: 0.999 for fp32, 0.99 fp16, 0.95 int8"
    )


class EngineSection(Section):
    """TensorRT engines, built on this machine from the model."""

    directory: str | None = Field(
        None,
        min_length=1,
        description="Where they are kept; null: the service's state directory, or the user's",
    )
    precision: Literal["fp32", "fp16", "int8"] = Field("fp16", description="How the layers calculate")
    opt_batch: int = Field(1, ge=1, le=64, description="Batch size that the engine is tuned for")
    optimization_level: int = Field(3, ge=0, le=5, description="0: quick build, 5: long build, fast engine")
    dla_core: int | None = Field(
        None,
        ge=0,
        le=3,
        description="Deep learning accelerator to use, the GPU helping out; null: the GPU alone",
    )
    version_compatible: bool = Field(False, description="Newer TensorRT versions may load it; slower")
    hardware_compatibility: Literal["none", "same_compute_capability", "ampere_plus"] = Field(
        "none", description="On which other GPUs it shall run; slower"
    )
    workspace_mib: int | None = Field(
        None, ge=16, le=1048576, description="Scratch memory for building; null: half of what is free"
    )
    memory_mib: int | None = Field(
        None, ge=256, le=1048576, description="A build is ended above this; null: nine tenths of what is free"
    )
    calibration: CalibrationSection = Field(CalibrationSection(), description="Frames for INT8")
    verification: VerificationSection = Field(VerificationSection(), description="Before an engine is used")


class PostprocessSection(Section):
    """From the model's output to detections."""

    confidence_threshold: Fraction = Field(0.25, description="Detections are more confident than this")
    class_confidence: dict[str, Fraction] = Field(
        {}, description="Other thresholds by label, such as {dog: 0.5}"
    )
    iou_threshold: Fraction = Field(0.7, description="Boxes of one class that overlap more are one object")
    classes: tuple[str, ...] = Field((), description="Only these labels; empty: all")
    max_detections: int = Field(300, ge=1, le=10000, description="Most detections of a frame, the best kept")
    max_candidates: int = Field(3000, ge=1, le=100000, description="Most boxes looked at, the best kept")


class FurtherModel(ModelSection):
    """One more model; of `inference`, `engine` and `postprocess` what differs from the sections above."""

    path: str = Field(min_length=1, description="As in `model`")
    device: int | None = Field(None, ge=0, le=63, description="Which GPU; null: inference.device")
    inference: InferenceSection = Field(InferenceSection(), description="What differs from `inference`")
    engine: EngineSection = Field(EngineSection(), description="What differs from `engine`")
    postprocess: PostprocessSection = Field(
        PostprocessSection(), description="What differs from `postprocess`"
    )


class CameraDefaults(SecretReference):
    """What holds for every camera that does not say otherwise."""

    enabled: bool = Field(True, description="Whether the camera is used")
    model: Name | None = Field(None, description="Which of `models` looks at it; null: the one of `model`")
    max_fps: float | None = Field(None, gt=0, le=1000, description="Most frames a second; null: as they come")
    realtime: bool = Field(False, description="Files: play at their own speed; false: as fast as possible")
    loop: bool = Field(False, description="Files: start again at the end")
    stall_s: float = Field(
        8.0, ge=0.5, le=3600, description="Without a frame for so long: stalled, opened again"
    )
    frozen_s: float | None = Field(
        60.0,
        ge=1,
        le=86400,
        description="Live cameras: with the same picture for so long: frozen, which is told; null: never",
    )
    open_timeout_s: float = Field(10.0, ge=0.5, le=600, description="Longest wait for a connection")
    reconnect_min_s: float = Field(0.5, ge=0.1, le=3600, description="First wait before connecting again")
    reconnect_max_s: float = Field(15.0, ge=0.1, le=3600, description="Longest wait before connecting again")
    transport: Literal["tcp", "udp"] = Field("tcp", description="RTSP: how the video travels")
    decoder: Literal["auto", "nvdec", "gstreamer", "cpu"] = Field(
        "auto",
        description="What decodes files, rtsp and http; auto: nvdec where the model runs on a GPU, else "
        "gstreamer (rtsp), else the cpu; if one fails, the next",
    )
    decoder_threads: int = Field(
        1, ge=1, le=64, description="Threads that decode; each one more delays live video by a frame"
    )
    username: str | None = Field(None, description="User name for rtsp and http cameras")


class CameraSection(CameraDefaults):
    """One camera; what it does not set comes from `camera_defaults`."""

    uri: str = Field(
        min_length=1,
        description="A file, a folder or glob of images, rtsp://, rtsps://, http://, https://, "
        "v4l2:///dev/video0, csi://0, gst://<pipeline>, scene://street?seed=1&size=1280x720&fps=30",
    )


class TlsSection(Section):
    """Encryption towards the broker; used with an mqtts:// or wss:// URI."""

    ca_file: str | None = Field(None, description="Certificate authorities; null: the system's")
    cert_file: str | None = Field(None, description="Our certificate, where the broker asks for one")
    key_file: str | None = Field(None, description="The key of our certificate")
    insecure: bool = Field(False, description="true: do not check the broker's certificate (for tests only)")


class OutboxSection(Section):
    """What must arrive waits on disk until the broker has confirmed it."""

    directory: str | None = Field(
        None, min_length=1, description="Where; null: below the service's state directory, or the user's"
    )
    max_mib: int = Field(
        256, ge=1, le=1048576, description="Most that waits; beyond it the oldest is dropped"
    )
    max_age_s: float = Field(604800.0, ge=1, le=31536000, description="What waited for longer is dropped")
    durability: Literal["process", "power"] = Field(
        "process",
        description="What a message on disk survives: the end of the process, or the loss of power too",
    )
    window: int = Field(16, ge=1, le=1000, description="Most messages on their way to the broker at a time")


class DeliverySection(Section):
    """What is kept on disk until the broker has it; what is live is dropped while there is no broker."""

    detections: Literal["live", "durable"] = Field("live", description="Detections of every frame")


class CommandsSection(Section):
    """What may be asked of the node over MQTT; let the broker's access control say by whom."""

    enabled: bool = Field(False, description="Whether commands are taken")
    max_per_minute: int = Field(60, ge=1, le=6000, description="Further commands are refused")
    snapshot_max_kib: int = Field(
        256, ge=16, le=8192, description="Largest JPEG of a snapshot; mind the broker's own bound"
    )


class HomeAssistantSection(Section):
    """Home Assistant finds the node and its cameras by itself."""

    enabled: bool = Field(False, description="Whether it is told of them")
    prefix: Name = Field("homeassistant", description="Its discovery prefix")
    classes: tuple[str, ...] = Field(
        (),
        description="Labels that are counted; empty: all of up to 12, else people, vehicles, cats and dogs",
    )


class MqttSection(SecretReference):
    """The broker, and what is published."""

    uri: str = Field(
        "mqtt://localhost:1883",
        description="mqtt://host[:1883], mqtts://host[:8883]; over WebSockets ws://host[:80]/mqtt, "
        "wss://host[:443]/mqtt",
    )
    username: str | None = Field(None, description="User name at the broker")
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="MQTT version; auto: 5, and 3.1.1 where the broker refuses it"
    )
    client_id: str | None = Field(
        None, min_length=1, max_length=128, description="Name at the broker; null: edge-app-<node>"
    )
    root: Name = Field("edge", description="First level of every topic")
    keepalive_s: int = Field(5, ge=5, le=3600, description="Heartbeat of the connection")
    reconnect_min_s: float = Field(0.5, ge=0.1, le=3600, description="First wait before connecting again")
    reconnect_max_s: float = Field(15.0, ge=0.1, le=3600, description="Longest wait before connecting again")
    publish_empty: bool = Field(
        True, description="Publish frames without objects too, so that subscribers see life"
    )
    detections_expiry_s: int = Field(
        5, ge=1, le=86400, description="MQTT 5: the broker forgets live detections after this"
    )
    health_interval_s: float = Field(10.0, ge=1, le=3600, description="How often health is published")
    queue_size: int = Field(
        256, ge=1, le=100000, description="Detections waiting to be published; the oldest is dropped"
    )
    delivery: DeliverySection = Field(DeliverySection(), description="What must arrive, and what need not")
    outbox: OutboxSection = Field(OutboxSection(), description="Where waits what must arrive")
    commands: CommandsSection = Field(
        CommandsSection(), description="What may be asked of the node over MQTT; off unless enabled"
    )
    home_assistant: HomeAssistantSection = Field(
        HomeAssistantSection(), description="Home Assistant finds node and cameras by itself"
    )
    tls: TlsSection = Field(
        TlsSection(), description="Encryption towards the broker, for mqtts:// and wss://"
    )


TOPIC_PATTERN = r"^[^/+#\x00$][^/+#\x00]*(/[^/+#\x00]+)*$"
TopicPrefix = Annotated[str, Field(min_length=1, max_length=256, pattern=TOPIC_PATTERN)]
"""One or more levels of a topic."""

ENCODER_TOPICS = {"deepstream": "deepstream", "frigate": "frigate"}
"""Topics of the encoders for others, where the configuration names none."""


class MqttSinkSection(MqttSection):
    """A further broker, or the same one for other consumers; keys and defaults as in `mqtt`."""

    type: Literal["mqtt"]
    enabled: bool = Field(True, description="Whether the sink is used")
    encoder: Literal["edge", "deepstream", "frigate"] = Field(
        "edge",
        description="How it is said: our own contract, DeepStream's minimal schema, or Frigate's topics",
    )
    uri: str = Field(min_length=1, description="As in `mqtt`")
    topic: TopicPrefix | None = Field(
        None,
        description="deepstream: the topic, frigate: what topics begin with; null: the encoder's name",
    )

    @property
    def foreign_topic(self) -> str:
        """Where an encoder for others publishes."""
        return self.topic or ENCODER_TOPICS[self.encoder]


class JsonlSinkSection(Section):
    """Files of JSON Lines."""

    type: Literal["jsonl"]
    enabled: bool = Field(True, description="Whether the sink is used")
    encoder: Literal["edge", "deepstream"] = Field(
        "edge", description="How it is said: our own contract, or DeepStream's minimal schema"
    )
    directory: str | None = Field(
        None,
        min_length=1,
        description="Where; it is made; null: below the service's state directory, or the user's",
    )
    max_mib: int = Field(
        64, ge=1, le=1048576, description="Size of a file; then it gets a number and another begins"
    )
    max_files: int = Field(8, ge=1, le=10000, description="Most files; the oldest goes")
    durability: Literal["process", "power"] = Field(
        "process",
        description="What a line in the file survives: the end of the process, or (but for the last second) "
        "the loss of power too",
    )
    publish_empty: bool = Field(True, description="Write frames without objects too")
    health_interval_s: float = Field(10.0, ge=1, le=3600, description="How often health is written")
    queue_size: int = Field(
        1000, ge=1, le=100000, description="Detections waiting to be written; the oldest is dropped"
    )


SinkSection = Annotated[MqttSinkSection | JsonlSinkSection, Field(discriminator="type")]


class MetricsSection(Section):
    """What Prometheus and probes may ask: /metrics, /healthz and /readyz."""

    enabled: bool = Field(True, description="Whether they are answered")
    address: str = Field(
        "127.0.0.1:9109",
        description="Where to listen. Whoever can reach it can read the names and states of all cameras",
    )


class AppConfig(Section):
    """The whole configuration."""

    node: NodeSection = Field(NodeSection(), description="This machine")
    log: LogSection = Field(LogSection(), description="The log")
    model: ModelSection = Field(ModelSection(), description="The detector")
    inference: InferenceSection = Field(InferenceSection(), description="How the model runs")
    engine: EngineSection = Field(EngineSection(), description="TensorRT engines, built on this machine")
    postprocess: PostprocessSection = Field(
        PostprocessSection(), description="From model output to detections"
    )
    models: dict[Name, FurtherModel] = Field(
        {}, description="Further models, each under its name; a camera says by `model` which one looks at it"
    )
    camera_defaults: CameraDefaults = Field(CameraDefaults(), description="What holds for every camera")
    cameras: dict[Name, CameraSection] = Field({}, description="The cameras, each under its name")
    mqtt: MqttSection = Field(MqttSection(), description="The broker, and what is published")
    sinks: dict[Name, SinkSection] = Field(
        {}, description="Where else it goes, each under its name: further brokers, and files"
    )
    metrics: MetricsSection = Field(MetricsSection(), description="What Prometheus and probes may ask")
