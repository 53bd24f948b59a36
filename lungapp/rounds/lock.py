"""One worker for each project: a lock of the operating system, which goes when its process does, however that ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

LOCK_FILE = "worker.lock"
BRIEFLY_SECONDS = 2.0  # for which it may be held by somebody who only looks whether it is free


class WorkerLock:
    """The right to work on a project's rounds.

    Args:
        rounds: The project's folder of rounds.
    """

    def __init__(self, rounds: Path) -> None:
        self._path = rounds / LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False, at once, if another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def sign(self) -> None:
        """Write into the lock's file who has it, for people."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give it back; nothing happens without it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_free(self) -> bool:
        """Whether no process has it."""
        if not self.acquire():
            return False
        self.release()
        return True

    def is_free_soon(self) -> bool:
        """Whether no worker has it: others hold it for a moment alone, to look."""
        deadline = time.monotonic() + BRIEFLY_SECONDS
        while not (is_free := self.is_free()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return is_free

    def holder(self) -> str:
        """Who signed it last, in words."""
        try:
            return self._path.read_text().strip()
        except OSError:
            return ""
