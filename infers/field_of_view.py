"""Scans whose field of view lies within the body, such as a crop to the lungs.

The body crop of the preprocessing looks for tissue around the lungs; where there is none it takes the mediastinum for
the body and cuts the lungs off (lungmask does so). A frame of tissue around such slices puts that right.
"""

from __future__ import annotations

import numpy as np

AIR_HU = -960  # below: air around a body
LUNG_HU = (-950, -600)
LITTLE = 0.05  # of the pixels on the edges of the slices
TISSUE_HU = 40
FRAME_MM = 25.0


def is_within_body(hu: np.ndarray) -> bool:
    """Whether the edges of the slices show lung, and next to no air.

    Args:
        hu: (z, y, x) int16 Hounsfield units.
    """
    edges = np.concatenate([hu[:, [0, -1], :].ravel(), hu[:, :, [0, -1]].ravel()])
    lung = (edges > LUNG_HU[0]) & (edges < LUNG_HU[1])
    return bool(lung.mean() > LITTLE and (edges < AIR_HU).mean() < LITTLE)


def framed(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """The slices with a frame of tissue, and where in it they lie.

    Args:
        hu: (z, y, x) int16 Hounsfield units.
        spacing_mm: Of (z, y, x).
    """
    y, x = (int(np.ceil(FRAME_MM / step)) for step in spacing_mm[1:])
    wide = np.pad(hu, ((0, 0), (y, y), (x, x)), constant_values=TISSUE_HU)
    return wide, (slice(None), slice(y, y + hu.shape[1]), slice(x, x + hu.shape[2]))
