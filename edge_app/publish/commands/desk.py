"""Takes commands from the connection, has them carried out on a thread of its own, and answers."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_app.publish.commands.command import (
    MAX_PAYLOAD_BYTES,
    Command,
    CommandRefusedError,
    Refusal,
    parse_command,
    request_id_of,
)
from edge_app.publish.commands.messages import reply_payload, snapshot_payload
from edge_app.publish.commands.rate import RateLimit
from edge_app.publish.commands.registry import CommandRegistry, Snapshot
from edge_app.publish.payloads import Stamp, encode
from edge_app.publish.refusal import RepeatFilter
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Answer, Received

logger = logging.getLogger(__name__)

MOST_WAITING = 8
"""Commands that wait for the one that is being carried out."""
MOST_ANSWERS = 32
"""Answers that wait for the connection; the oldest goes."""
ANSWER_EXPIRY_S = 60
"""After that nobody waits for it: neither here, without a connection, nor at the broker, without a reader."""
MAX_RESPONSE_TOPIC_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Request:
    """A message that may be a command. `levels` are those of its topic below `cmd`."""

    levels: tuple[str, ...]
    payload: bytes
    reply_topic: str
    correlation: bytes | None

    @property
    def name(self) -> str:
        return "/".join(self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture(Answer):
    """A snapshot on its way. Only when it is known what became of it, the command is answered."""

    request: _Request
    request_id: str | None
    snapshot_id: str
    words: str


class CommandDesk:
    """The commands of one node.

    `received`, `take`, and what tells the fate of an answer that was taken, are called by the connection's
    thread, and return at once.

    Args:
        registry: Who carries them out.
        topics: Of the node.
        stamper: Numbers the answers.
        wake: Called when there is an answer to send.
        max_per_minute: Most commands that are taken; of those beyond it one a second gets a reply.
    """

    def __init__(
        self,
        registry: CommandRegistry,
        topics: Topics,
        stamper: Stamper,
        wake: Callable[[], None],
        max_per_minute: int,
    ) -> None:
        self._registry, self._topics, self._stamper, self._wake = registry, topics, stamper, wake
        self._rate, self._rate_replies = RateLimit(max_per_minute), RateLimit(60)
        self._max_per_minute = max_per_minute
        self._repeats, self._warning = RepeatFilter(), threading.Lock()
        self._waiting: queue.Queue[_Request | None] = queue.Queue(MOST_WAITING)
        self._answers: deque[tuple[float, Answer]] = deque(maxlen=MOST_ANSWERS)
        self._pictures: list[_Picture] = []
        """On their way; of the connection's thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._carry_out_all, name="commands", daemon=True)
        self.subscriptions = (topics.commands,)
        self._prefix = topics.commands.removesuffix("#")

    def start(self) -> None:
        """Begin to carry out what comes."""
        self._thread.start()

    def stop(self) -> None:
        """Carry out nothing more; one that is being carried out ends by itself, see `join`."""
        self._stopping = True
        with contextlib.suppress(queue.Full):  # then there is something to wake up for already
            self._waiting.put_nowait(None)

    def join(self, timeout_s: float) -> None:
        """Wait after `stop` until the last command has ended, `timeout_s` seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.warning("a command has not ended, and is left behind")

    def received(self, message: Received) -> bool:
        """Take a message, if its topic is one of commands; return whether it is."""
        if not message.topic.startswith(self._prefix):
            return False
        if message.retained:
            # It would be carried out again after each reconnect, long after anybody meant it.
            self._warn("a retained command was ignored: %.256s; publish it without retain", message.topic)
            return True
        request = self._request(message)
        try:
            self._accept(request)
        except CommandRefusedError as refused:
            self._refuse(request, refused)
        return True

    def take(self) -> Answer | None:
        """Return the next answer to send, or None."""
        while self._answers:
            made_s, answer = self._answers.popleft()
            if time.monotonic() - made_s < ANSWER_EXPIRY_S:
                if isinstance(answer, _Picture):
                    self._pictures.append(answer)
                return answer
        return None

    def confirmed(self, answer: Answer) -> None:
        """The broker has it."""
        if isinstance(answer, _Picture) and self._arrived(answer):
            self._reply(answer.request, answer.request_id, answer.words, answer.snapshot_id)

    def too_large(self, answer: Answer, reason: str) -> None:
        """The broker takes nothing of that size; `reason` has the figures."""
        if isinstance(answer, _Picture) and self._arrived(answer):
            words = f"the picture is not sent: {reason}; ask for a smaller one (max_edge_px, quality)"
            self._refuse(answer.request, CommandRefusedError(Refusal.TOO_LARGE, words))

    def refused(self, answer: Answer, reason: str) -> None:
        """The broker does not take it."""
        if isinstance(answer, _Picture) and self._arrived(answer):
            words = f"the broker refuses the picture's topic {answer.topic}: {reason}"
            self._refuse(answer.request, CommandRefusedError(Refusal.FAILED, words))

    def disconnected(self) -> None:
        """What is on its way may be lost."""
        lost, self._pictures = self._pictures, []
        for picture in lost:
            words = "the connection to the broker broke before it had confirmed the picture"
            self._refuse(picture.request, CommandRefusedError(Refusal.FAILED, words))

    def _arrived(self, picture: _Picture) -> bool:
        known = any(other is picture for other in self._pictures)
        self._pictures = [other for other in self._pictures if other is not picture]
        return known

    def _request(self, message: Received) -> _Request:
        levels = tuple(message.topic[len(self._prefix) :].split("/"))
        wanted = message.response_topic
        if wanted is not None and not self._may_answer_to(wanted):
            self._warn("a command's response topic is not used: %.256r", wanted)
            wanted = None
        return _Request(levels, message.payload, wanted or self._topics.reply, message.correlation)

    def _may_answer_to(self, topic: str) -> bool:
        """Whether a reply may go there: whoever may send commands must not speak for a node by it."""
        fits = 0 < len(topic.encode()) <= MAX_RESPONSE_TOPIC_BYTES
        if not fits or any(character in topic for character in "+#\0") or topic.startswith("$"):
            return False
        own_tree = f"{self._topics.root}/"
        return not topic.startswith(own_tree) or topic.startswith(f"{self._topics.reply}/")

    def _accept(self, request: _Request) -> None:
        if not self._rate.allows():
            words = f"more than {self._max_per_minute} commands in a minute (mqtt.commands.max_per_minute)"
            self._warn("commands are refused: %s", words)
            if not self._rate_replies.allows():
                return
            raise CommandRefusedError(Refusal.RATE_LIMITED, words)
        if len(request.payload) > MAX_PAYLOAD_BYTES:
            words = f"the payload has {len(request.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are read"
            raise CommandRefusedError(Refusal.TOO_LARGE, words)
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            words = f"{MOST_WAITING} commands wait already; try again later"
            raise CommandRefusedError(Refusal.BUSY, words) from None

    # What follows runs on the desk's own thread, but for `_refuse`, `_reply` and what they call.

    def _carry_out_all(self) -> None:
        while (request := self._waiting.get()) is not None and not self._stopping:
            self._try(request)

    def _try(self, request: _Request) -> None:
        try:
            self._carry_out(request, parse_command(request.levels, request.payload))
        except CommandRefusedError as refused:
            self._refuse(request, refused)
        except Exception as error:  # a handler's fault costs its command only
            logger.exception("the command %.200r failed", request.name)
            words = f"it failed ({type(error).__name__}); the log of the node says more"
            self._refuse(request, CommandRefusedError(Refusal.FAILED, words))

    def _carry_out(self, request: _Request, command: Command) -> None:
        outcome = self._registry.carry_out(command)
        logger.info("command %s: %s", request.name, outcome.words)
        if outcome.snapshot is None:
            self._reply(request, command.request_id, outcome.words, None)
        else:
            self._publish(outcome.snapshot, request, command.request_id, outcome.words)

    def _publish(self, snapshot: Snapshot, request: _Request, request_id: str | None, words: str) -> None:
        topic = self._topics.snapshot(snapshot.info.camera_id)
        stamp = self._stamper.next(topic)
        picture = _Picture(
            topic,
            encode(snapshot_payload(stamp, snapshot, request_id)),
            qos=1,
            expiry_s=ANSWER_EXPIRY_S,
            request=request,
            request_id=request_id,
            snapshot_id=stamp.id,
            words=words,
        )
        self._send(picture)

    def _reply(self, request: _Request, request_id: str | None, words: str, snapshot_id: str | None) -> None:
        payload = reply_payload(
            self._stamp(request), request.name, request_id, words, snapshot_id=snapshot_id
        )
        self._answer(request.reply_topic, encode(payload), request.correlation)

    def _refuse(self, request: _Request, refused: CommandRefusedError) -> None:
        self._warn("command %.200r refused: %.500s", request.name, refused.words)
        stamp, request_id = self._stamp(request), request_id_of(request.payload)
        payload = reply_payload(stamp, request.name, request_id, None, refused)
        self._answer(request.reply_topic, encode(payload), request.correlation)

    def _stamp(self, request: _Request) -> Stamp:
        """Number the replies of the node's own reply topic; those of others' topics may go anywhere."""
        topic = self._topics.reply
        return self._stamper.next(topic) if request.reply_topic == topic else self._stamper.unnumbered()

    def _warn(self, text: str, *values: str) -> None:
        with self._warning:
            new = self._repeats.allows(text % values)
        if new:
            logger.warning(text, *values)

    def _answer(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        self._send(Answer(topic, payload, qos=1, expiry_s=ANSWER_EXPIRY_S, correlation=correlation))

    def _send(self, answer: Answer) -> None:
        self._answers.append((time.monotonic(), answer))
        self._wake()
