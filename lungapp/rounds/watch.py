"""What a step of a round has in hand: to say how far it is, and to hear that it shall stop."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datastore.database import RegistryError
from datastore.registry import Registry

if TYPE_CHECKING:
    from trainers.progress import Progress

SECONDS_APART = 1.0  # between two reports of one step, and two questions whether somebody cancelled
STEPS = ("snapshot", "cache", "train", "judge", "publish", "refresh")
WORKER = "lungapp"  # who does it, in the audit
PARTS = 1_000_000  # of a step, for telling whether a round gets on

logger = logging.getLogger(__name__)


class InterruptedRound(BaseException):
    """The worker stops, or the registry is away: the step is not done, and is gone on with later.

    No `Exception`, so that nothing takes it for a failure of the step and notes it as such.
    """


class RoundCancelledError(Exception):
    """Somebody asked for the round to be stopped."""


class Watch:
    """The eyes and ears of one step.

    Args:
        registry: Of the project.
        number: Of the round.
        step: One of `STEPS`.
        stopping: Set when the worker is to stop.
    """

    def __init__(self, registry: Registry, number: int, step: str, stopping: threading.Event) -> None:
        self._registry = registry
        self._number = number
        self._step = step
        self._stopping = stopping
        self._reported: tuple[float, int] | None = None
        self._asked = 0.0
        self._cancelled = False

    def train(self, progress: Progress) -> None:
        """Say how far a training is; what it says stays when later steps report."""
        self.report(progress.step, progress.steps, training=_plain(asdict(progress)))

    def report(self, done: int = 0, total: int = 0, **more: Any) -> None:
        """Say how far the step is; cheap to call often.

        Args:
            done: Cases, or steps of a training.
            total: How many there are.
            more: Plain values for whoever follows.
        """
        now = time.monotonic()
        if self._reported is not None and done < total:
            moment, before = self._reported
            if now - moment < SECONDS_APART and done == before:
                return
        self._reported = now, done
        position = STEPS.index(self._step) * PARTS + min(done, PARTS - 1)
        progress = {"step": self._step, "done": done, "total": total, "position": position, **more}
        try:
            self._registry.report_progress(self._number, progress)
        except RegistryError as error:  # of a long training that is no reason to stop
            logger.warning("the progress of round %d could not be kept: %s", self._number, error)

    def should_stop(self) -> bool:
        """Whether the step shall come to an end; cheap to call often."""
        return self._stopping.is_set() or self.is_cancelled()

    def is_stopping(self) -> bool:
        """Whether the worker is to stop."""
        return self._stopping.is_set()

    def is_cancelled(self) -> bool:
        """Whether somebody asked for the round to be stopped."""
        now = time.monotonic()
        if not self._cancelled and now - self._asked >= SECONDS_APART:
            self._asked = now
            try:
                self._cancelled = self._registry.is_cancel_requested(self._number)
            except RegistryError as error:
                logger.warning("round %d: %s", self._number, error)
        return self._cancelled

    def check(self) -> None:
        """Stop here if that is asked for.

        Raises:
            InterruptedRound: If the worker stops.
            RoundCancelledError: If somebody cancelled the round.
        """
        if self._stopping.is_set():
            raise InterruptedRound
        if self.is_cancelled():
            raise RoundCancelledError


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without numbers that JSON does not know."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
