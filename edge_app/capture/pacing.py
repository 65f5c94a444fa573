"""Which frames are taken, and when: a limit of frames per second, and playing at a file's own speed."""

from __future__ import annotations

_JITTER_S = 0.01
_JUMP_S = 1.0
"""A clock that is so much behind what was expected of it was set back."""
USUAL_FPS = 25.0
"""What FFmpeg takes for the rate of a stream that does not tell it."""


class RateLimit:
    """Lets at most `max_fps` frames a second through on average; None lets all through.

    A frame may come a little early: a camera's jitter must not cost every second frame.
    """

    def __init__(self, max_fps: float | None) -> None:
        self._interval_s = None if max_fps is None else 1.0 / max_fps
        self._next_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether the frame of time `now_s` (of any one clock) is taken."""
        if self._interval_s is None:
            return True
        due_s = now_s if self._next_s is None else self._next_s
        if due_s - now_s > self._interval_s + _JUMP_S:
            due_s = now_s
        if now_s < due_s - min(_JITTER_S, self._interval_s / 4):
            return False
        # On time: keep to the grid, so that the average holds. Late: no credit for what never came.
        on_time = now_s - due_s < self._interval_s
        self._next_s = (due_s if on_time else now_s) + self._interval_s
        return True

    def reset(self) -> None:
        """Forget the past; the clock starts again."""
        self._next_s = None


class MediaTimes:
    """Gives pictures the times that their stream does not tell, as raw ones tell none at all.

    Args:
        fps: The stream's rate; None: unknown.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval_s = 1.0 / (fps or USUAL_FPS)
        self._next_s = 0.0

    def fill(self, told_s: float | None) -> float:
        """Return the next picture's time in seconds, 0 or more; `told_s` is what the stream says of it."""
        time_s = max(0.0, self._next_s if told_s is None else told_s)
        self._next_s = time_s + self._interval_s
        return time_s

    def reset(self) -> None:
        """Begin again at 0."""
        self._next_s = 0.0


class Pace:
    """Holds frames back until their media time has come, measured from the first of them."""

    _RESYNC_S = 1.0

    def __init__(self) -> None:
        self._origin_s: float | None = None

    def delay_s(self, media_time_s: float, now_s: float) -> float:
        """How long the frame of `media_time_s` has to wait yet; both times in seconds.

        Who falls a second behind, or finds the times jumping, starts anew from here.
        """
        if self._origin_s is None or not -self._RESYNC_S < self._due_s(media_time_s, now_s) < 60.0:
            self._origin_s = now_s - media_time_s
        return max(0.0, self._due_s(media_time_s, now_s))

    def _due_s(self, media_time_s: float, now_s: float) -> float:
        return (self._origin_s or 0.0) + media_time_s - now_s

    def reset(self) -> None:
        """Start anew with the next frame."""
        self._origin_s = None
