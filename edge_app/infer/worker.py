"""The thread on which a backend runs its batches, one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from edge_app.errors import BackendError

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs calls in their order. Starts its thread at once.

    A daemon thread, not an executor's: the interpreter waits for those, for ever if a runtime hangs.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call. Raises BackendError once closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise BackendError("the backend is not open")
            self._calls.put((future, call))
        return future

    def close(self, timeout_s: float) -> bool:
        """Finish what is queued; return whether that took no longer than `timeout_s` seconds. Idempotent.

        What is still queued then is never run: its future fails with BackendError.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                self._calls.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._refuse_the_rest()
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (queued := self._calls.get()) is not None:
            future, call = queued
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
                future.set_exception(error)

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                queued = self._calls.get_nowait()
            except queue.Empty:
                break
            if queued is not None:
                queued[0].set_exception(BackendError("the backend was closed before the batch was run"))
        self._calls.put(None)
