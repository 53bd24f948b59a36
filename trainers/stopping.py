"""Being told to stop, by the caller or by SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class TrainingStopped(Exception):  # noqa: N818  (nothing went wrong)
    """A training was told to stop; its checkpoint is written, and the same call goes on from there."""


@contextmanager
def stop_signal(should_stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Whether to stop: because `should_stop` says so, or because SIGTERM came within the block.

    Python lets only the main thread handle signals; in another thread `should_stop` alone counts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield should_stop
        return
    came = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: came.is_set() or should_stop()
    finally:
        signal.signal(signal.SIGTERM, before)
