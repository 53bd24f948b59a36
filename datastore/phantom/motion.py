"""Motion during the scan: the beating heart and the diaphragm of a patient who breathes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndimage


@dataclass(frozen=True)
class Motion:
    """How far things move while they are scanned; 0 is not at all.

    Attributes:
        heart_mm: Greatest distance between the two contours of the heart.
        heart_period_mm: Way along z between two beats.
        heart_phase: Where in the beat the scan starts, from 0 to 1.
        heart_angle: Direction of the motion in the axial plane, radians from the x axis.
        breath_mm: Greatest distance along z by which the lung's lower half is seen twice.
        breath_middle: Height of the worst blur in the lungs, 0 at their lowest to 1 at their highest slice.
        breath_length_mm: Length along z of the blurred stretch (standard deviation).
    """

    heart_mm: float
    heart_period_mm: float
    heart_phase: float
    heart_angle: float
    breath_mm: float
    breath_middle: float
    breath_length_mm: float


def draw_motion(random: np.random.Generator) -> Motion:
    """Draw motion: most hearts show a little of it, one patient in five has breathed."""
    return Motion(
        heart_mm=random.uniform(1.0, 6.0) if random.random() < 0.6 else 0.0,
        heart_period_mm=random.uniform(8.0, 40.0),
        heart_phase=random.uniform(0.0, 1.0),
        heart_angle=random.uniform(0.0, np.pi),
        breath_mm=random.uniform(2.0, 10.0) if random.random() < 0.2 else 0.0,
        breath_middle=random.uniform(0.0, 0.35),
        breath_length_mm=random.uniform(8.0, 35.0),
    )


class Movement:
    """A motion at the place of some lungs; nothing moves where no lung is in view.

    Args:
        lungs: (z, y, x) above 0 in lung.
        spacing_mm: (z, y, x).
        motion: How far things move.
    """

    def __init__(self, lungs: np.ndarray | None, spacing_mm: tuple[float, float, float], motion: Motion) -> None:
        self._motion, self._spacing_mm = motion, spacing_mm
        self._window: np.ndarray | None = None
        if lungs is None or not (motion.heart_mm or motion.breath_mm):
            return
        step = 2 if min(lungs.shape[1:]) > 64 else 1
        thinned = lungs[:, ::step, ::step] > 0
        footprint = thinned.any(axis=0)
        if not footprint.any():
            return
        z, y, x = (
            np.flatnonzero(line)[[0, -1]] * scale
            for line, scale in (
                (thinned.any(axis=(1, 2)), 1),
                (footprint.any(axis=1), step),
                (footprint.any(axis=0), step),
            )
        )
        self._z_mm = z * spacing_mm[0]
        blurred = [max(int(12 / spacing / step), 1) for spacing in spacing_mm[1:]]
        weight = ndimage.uniform_filter(ndimage.binary_fill_holes(footprint).astype(np.float32), blurred)
        self._breath_weight = np.repeat(np.repeat(weight, step, 0), step, 1)[: lungs.shape[1], : lungs.shape[2]]
        middle = [y[0] + 0.42 * (y[1] - y[0]), x[0] + 0.6 * (x[1] - x[0])]
        reach = [0.36 * (y[1] - y[0]), 0.28 * (x[1] - x[0])]
        self._box = tuple(
            slice(max(int(centre - half), 0), int(centre + half) + 2)
            for centre, half in zip(middle, reach, strict=True)
        )
        away = [
            np.clip(np.abs(np.arange(part.start, min(part.stop, size)) - centre) / max(half, 1), 0, 1)
            for part, size, centre, half in zip(self._box, lungs.shape[1:], middle, reach, strict=True)
        ]
        bump = [np.cos(np.pi / 2 * one**3) ** 2 for one in away]
        self._window = (bump[0][:, None] * bump[1][None, :]).astype(np.float32)

    def breath_slices(self, index: float) -> float:
        """How many slices up and down a slice is seen at once, 0 where it is sharp."""
        if self._window is None or not self._motion.breath_mm:
            return 0.0
        middle = self._z_mm[0] + self._motion.breath_middle * (self._z_mm[1] - self._z_mm[0])
        away = (index * self._spacing_mm[0] - middle) / self._motion.breath_length_mm
        half = 0.5 * self._motion.breath_mm / self._spacing_mm[0] * np.exp(-0.5 * away**2)
        return float(half) if half > 0.05 else 0.0

    def blend_breath(self, sharp: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Where lungs are in any slice, the mean of two positions instead of the (y, x) slice."""
        double = np.float32(0.5) * (lower + upper)
        return sharp + self._breath_weight * (double - sharp)

    def beat(self, slice_hu: np.ndarray, index: float) -> None:
        """Show the heart of a (y, x) slice at two moments, in place."""
        if self._window is None or not self._motion.heart_mm:
            return
        z_mm = index * self._spacing_mm[0]
        height = (z_mm - self._z_mm[0]) / max(self._z_mm[1] - self._z_mm[0], 1.0)
        if not -0.1 < height < 0.7:
            return
        pulse = 0.5 + 0.5 * np.sin(2 * np.pi * (z_mm / self._motion.heart_period_mm + self._motion.heart_phase))
        half_mm = 0.5 * self._motion.heart_mm * pulse * np.sin(np.pi * (height + 0.1) / 0.8)
        turn = self._motion.heart_angle
        shift = (half_mm * np.sin(turn) / self._spacing_mm[1], half_mm * np.cos(turn) / self._spacing_mm[2])
        part = slice_hu[self._box]
        double = np.float32(0.5) * (_shifted(part, shift) + _shifted(part, (-shift[0], -shift[1])))
        part += self._window * (double - part)


def _shifted(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    shifted: np.ndarray = ndimage.shift(image, shift, order=1, mode="nearest", prefilter=False)
    return shifted
