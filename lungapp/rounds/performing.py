"""Doing a step of a round: what comes of it is told in plain values, or the round is interrupted and goes on later."""

from __future__ import annotations

import errno
import logging
import threading
import traceback
from typing import Protocol

from datastore.database import RegistryError
from datastore.registry import Registry
from datastore.round_records import RoundState
from datastore.wording import first_line
from lungapp.rounds.watch import STEPS, WORKER, InterruptedRound, RoundCancelledError, Watch

PUBLISHING = "publish"
DONE, OVER, CANCELLED, FAILED = "done", "over", "cancelled", "failed"
FULL = errno.ENOSPC, errno.EDQUOT
TORCH_COULD_NOT_WRITE = "PytorchStreamWriter", "inline_container"

logger = logging.getLogger(__name__)


class Steps(Protocol):
    """What a round does; each may be called again after it was killed at any moment, or when it is done."""

    def snapshot(self, number: int, watch: Watch) -> None:
        """Settle what to train and to judge on."""

    def cache(self, number: int, watch: Watch) -> None:
        """Prepare the training slices."""

    def train(self, number: int, watch: Watch) -> None:
        """Make the candidate."""

    def judge(self, number: int, watch: Watch) -> None:
        """Compare it with the model that serves."""

    def publish(self, number: int, watch: Watch) -> None:
        """Publish it or hold it back, and say so in the registry."""

    def refresh(self, number: int, watch: Watch) -> None:
        """Make the preliminary masks of open cases anew."""


class Performer:
    """Does the steps of rounds.

    Args:
        registry: Of the project.
        steps: What a round does.
        stopping: Set when the worker is to stop.

    Attributes:
        interrupted: Set when a step was not done and is to be gone on with later.
        trouble: Why, if it is not the worker that stops.
    """

    def __init__(self, registry: Registry, steps: Steps, stopping: threading.Event) -> None:
        self.interrupted = threading.Event()
        self.trouble: str | None = None
        self._registry = registry
        self._steps = steps
        self._stopping = stopping

    def begin(self) -> None:
        """Forget what interrupted the round before."""
        self.interrupted.clear()
        self.trouble = None

    def perform(self, step: str, number: int) -> dict[str, str]:
        """Do a step.

        Returns:
            Its `outcome` (done, over, cancelled, failed) and the `reason`, plain values.

        Raises:
            InterruptedRound: If it is not done.
        """
        watch = Watch(self._registry, number, step, self._stopping)
        try:
            if step == STEPS[-1]:
                watch.report()
                self._steps.refresh(number, watch)
                self._check_worker()
                return _outcome(DONE)
            if self._registry.round(number).has_ended:
                return _outcome(OVER)
            if step != PUBLISHING:  # which cannot be stopped any more once the model is served
                watch.check()
            watch.report()
            getattr(self._steps, step)(number, watch)
            if not self._registry.round(number).has_ended:
                watch.check()  # whatever a step makes of being stopped: it is not done then
            return _outcome(DONE)
        except RoundCancelledError:
            return _outcome(CANCELLED)
        except InterruptedRound:
            self.interrupted.set()
            raise
        except RegistryError as error:
            raise self._interruption(number, str(error)) from error
        except Exception as error:
            self._check_worker()
            if watch.is_cancelled():
                return _outcome(CANCELLED)
            if is_of_a_full_disk(error):
                raise self._interruption(number, f"{step}: the disk is full: make room") from error
            where = "".join(traceback.format_tb(error.__traceback__))  # without messages, which may hold paths of scans
            logger.error("round %d: step %s failed: %s\n%s", number, step, first_line(error), where)
            return _outcome(FAILED, f"{step}: {first_line(error)}")

    def end(self, number: int, state: str, reason: str) -> None:
        """Note an end in the registry, unless the round has one.

        Raises:
            InterruptedRound: If the registry is away.
        """
        try:
            if not self._registry.round(number).has_ended:
                self._registry.end_round(number, RoundState(state), decision=reason or None, by=WORKER)
        except RegistryError as error:
            raise self._interruption(number, str(error)) from error

    def _check_worker(self) -> None:
        if self._stopping.is_set():
            self.interrupted.set()
            raise InterruptedRound

    def _interruption(self, number: int, trouble: str) -> InterruptedRound:
        """A registry that is away or a full disk fails no round: it is gone on with when that is over."""
        logger.warning("round %d is interrupted: %s", number, trouble)
        self.trouble = trouble
        self.interrupted.set()
        return InterruptedRound()


def is_of_a_full_disk(error: BaseException) -> bool:
    """Whether an error, or what led to it, says that there is no room; torch does not say it in so many words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if isinstance(error, RuntimeError) and any(word in str(error) for word in TORCH_COULD_NOT_WRITE):
            return True
        if error.__cause__ is None and error.__context__ is None:
            return False
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return False


def _outcome(outcome: str, reason: str = "") -> dict[str, str]:
    return {"outcome": outcome, "reason": reason}
