"""Faults of the detector and its calibration: rings, and Hounsfield units that are a little off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndimage


@dataclass(frozen=True)
class Detector:
    """How well a scanner is calibrated.

    Attributes:
        scale: Measured over true attenuation, relative to air.
        shift_hu: Added to every voxel.
        ring_hu: Standard deviation of ring artefacts, 0 for none.
        centre: (y, x) distance of the rotation axis from the middle of the slice, in voxels.
    """

    scale: float
    shift_hu: float
    ring_hu: float
    centre: tuple[float, float]


def draw_detector(random: np.random.Generator) -> Detector:
    """Draw a calibration: a few Hounsfield units off, one scan in fifteen with faint rings."""
    shift = random.uniform(-40.0, 40.0, 2)
    return Detector(
        scale=float(np.clip(random.normal(1.0, 0.005), 0.985, 1.015)),
        shift_hu=float(np.clip(random.normal(0.0, 2.5), -8.0, 8.0)),
        ring_hu=random.uniform(2.0, 12.0) if random.random() < 1 / 15 else 0.0,
        centre=(float(shift[0]), float(shift[1])),
    )


def rings(shape: tuple[int, int], detector: Detector, random: np.random.Generator) -> np.ndarray | None:
    """Rings and arcs about the rotation axis: (y, x) float32 HU; None for none.

    Args:
        shape: (y, x) of a slice.
        detector: The calibration.
        random: Which detector channels are faulty.
    """
    if not detector.ring_hu:
        return None
    y, x = (np.arange(count) - (count - 1) / 2 - shift for count, shift in zip(shape, detector.centre, strict=True))
    radius = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)
    channels = int(radius.max()) + 2
    faults = random.standard_normal(channels) * (random.random(channels) < 0.08)
    faults = ndimage.gaussian_filter1d(faults, 0.6)
    # a faulty channel near the axis is seen by fewer rays and draws a stronger ring
    faults /= np.sqrt(np.arange(channels) + 4.0)
    faults *= detector.ring_hu / max(faults.std(), 1e-9)
    image = np.interp(radius.ravel(), np.arange(channels), faults).reshape(shape)
    return image.astype(np.float32)
