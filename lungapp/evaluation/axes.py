"""Axes of plots: where a value lies, and which ticks are worth a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SQUEEZED = 8.0  # range of all values over the height of the middle box, from which on an axis is stretched
TICK_GAP = 0.085  # share of the axis between two ticks of a stretched one, at least


@dataclass(frozen=True)
class Axis:
    """A vertical axis.

    Attributes:
        low: Value at its lower end.
        high: Value at its upper end.
        perfect: The best value that there is, from which a stretched axis is counted; None for a linear one.
    """

    low: float
    high: float
    perfect: float | None = None

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the lower end, 1 at the upper one."""
        if self.perfect is None:
            return (value - self.low) / (self.high - self.low)
        worst = self.low if self.perfect == self.high else self.high
        off = math.sqrt(abs(value - self.perfect) / abs(worst - self.perfect))
        return 1 - off if self.perfect == self.high else off

    @property
    def ticks(self) -> list[float]:
        """Round values to label, rising."""
        if self.perfect is None:
            step = round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [round(number * step, 10) for number in range(first, last + 1)]
        reach = self.high - self.low
        sign = -1 if self.perfect == self.high else 1
        top = math.ceil(math.log10(reach))
        distances = [factor * 10.0**power for power in range(top, top - 7, -1) for factor in (5, 2, 1)]
        chosen = [0.0]
        for distance in distances:
            place = math.sqrt(distance / reach)
            if place <= 1 and all(abs(place - math.sqrt(other / reach)) >= TICK_GAP for other in chosen):
                chosen.append(distance)
        return sorted(round(self.perfect + sign * distance, 10) for distance in chosen)


def axis_for(samples: Sequence[Sequence[float]], *, perfect: float, worst: float | None) -> Axis:
    """An axis on which all values are seen, and boxes are not squeezed flat by a few bad cases.

    Args:
        samples: Finite values of each box, at least one in all.
        perfect: The best value that there is; all lie on one side of it.
        worst: The worst value that there is; None if there is no limit, above `perfect`.

    >>> axis_for([[0.91, 0.95, 0.97], [0.92, 0.93, 0.98]], perfect=1.0, worst=0.0)
    Axis(low=0.9, high=1.0, perfect=None)
    >>> axis_for([[0.3, 0.4, 0.4, 0.5, 0.5, 90.0]], perfect=0.0, worst=None).ticks
    [0.0, 2.0, 5.0, 10.0, 20.0, 50.0]
    """
    distances = [abs(value - perfect) for sample in samples for value in sample]
    sign = 1 if worst is None or worst > perfect else -1
    nearest, farthest = min(distances), max(distances)
    heights = [float(np.subtract(*np.percentile(sample, (75, 25)))) for sample in samples if len(sample) > 1]
    if farthest - nearest > SQUEEZED * np.median(heights or [farthest]):
        low, high = sorted((perfect, perfect + sign * 1.03 * farthest))
        return Axis(low, high, perfect)
    farthest = farthest or 0.1
    if nearest < 0.5 * farthest or nearest == farthest:
        nearest = 0.0
    step = round_step((farthest - nearest) / 4)
    near, far = math.floor(nearest / step + 1e-9) * step, math.ceil(farthest / step - 1e-9) * step
    if worst is not None:
        far = min(far, abs(worst - perfect))
    low, high = sorted((round(perfect + sign * near, 10), round(perfect + sign * far, 10)))
    return Axis(low, high)


def round_step(roughly: float) -> float:
    """The 1, 2 or 5 with zeros that is next above a number, or is it.

    >>> round_step(0.03), round_step(70)
    (0.05, 100.0)
    """
    power = 10.0 ** math.floor(math.log10(roughly))
    return next(round(factor * power, 12) for factor in (1, 2, 5, 10) if factor * power >= roughly * (1 - 1e-9))
