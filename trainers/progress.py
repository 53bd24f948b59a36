"""How far a training is, and how fast."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a training tells while it runs.

    Attributes:
        epoch: That runs, or that has just ended; the first is number 1.
        epochs: At most.
        step: Minibatches done.
        steps: Minibatches in all.
        loss: Mean over the epoch so far.
        watched_dice: Mean over the classes, of all validation slices; None before the end of an epoch.
        best_dice: The best so far.
        slices_per_s: Since it last told.
        left_s: Seconds until the end at this pace, if it is not ended early.
        waited_share: Of the time since it last told, that the network waited for slices.
        parts: How many pieces a minibatch is computed in, for want of memory.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    watched_dice: float | None
    best_dice: float | None
    slices_per_s: float
    left_s: float
    waited_share: float = 0.0
    parts: int = 1

    def __str__(self) -> str:
        dice = "" if self.watched_dice is None else f", watched Dice {self.watched_dice:.4f}"
        parts = "" if self.parts == 1 else f", minibatches in {self.parts} parts"
        return (
            f"epoch {self.epoch}/{self.epochs}, step {self.step}/{self.steps}, loss {self.loss:.4f}{dice}, "
            f"{self.slices_per_s:.1f} slices/s, {self.left_s / 60:.1f} min left{parts}"
        )


class Pace:
    """Steps per second, and the share of waiting, since it was last asked; as before where there was no step since.

    Args:
        step: Where the clock starts.
    """

    def __init__(self, step: int) -> None:
        self._step, self._began, self._waited_s = step, time.perf_counter(), 0.0
        self._last = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Since it was last asked."""
        return time.perf_counter() - self._began

    def measure(self, step: int, waited_s: float) -> tuple[float, float]:
        """Steps per second and share of waiting, up to this step.

        Args:
            step: Done by now.
            waited_s: Seconds waited in all by now.
        """
        if step > self._step:
            seconds = max(self.seconds, 1e-9)
            self._last = (step - self._step) / seconds, (waited_s - self._waited_s) / seconds
            self._step, self._began, self._waited_s = step, time.perf_counter(), waited_s
        return self._last
