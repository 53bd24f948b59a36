"""Where the patient's midline lies in a CT of the chest."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndimage

HALF_WIDTH_MM = 160.0


def midline_x_mm(
    lung: np.ndarray,
    spacing_mm: tuple[float, float, float],
    hu: np.ndarray | None = None,
    airway: np.ndarray | None = None,
) -> float:
    """Where the patient's midline lies: at the spine if bone shows one, else midway through the body.

    Args:
        lung: (z, y, x) bool along LPS.
        spacing_mm: (z, y, x) voxel size in mm.
        hu: (z, y, x) Hounsfield units on the same grid.
        airway: (z, y, x) bool, trachea and main bronchi where known.

    Returns:
        mm from the centre of the first column (x index 0).
    """
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    centre_mm = (lung.shape[2] - 1) / 2 * spacing_mm[2]
    if hu is None or len(slices) == 0:
        return centre_mm
    if airway is not None and airway.any():
        middle_mm: float | None = float(np.nonzero(airway)[2].mean()) * spacing_mm[2]
    else:
        middle_mm = _body_middle_mm(lung, hu, slices, spacing_mm[2])
    spine_mm = _spine_x_mm(lung, hu, slices, middle_mm, spacing_mm)
    if spine_mm is not None:
        return spine_mm
    return centre_mm if middle_mm is None else middle_mm


def _body_middle_mm(lung: np.ndarray, hu: np.ndarray, slices: np.ndarray, column_mm: float) -> float | None:
    """Midway between the body's flanks beside the lungs; by one flank if the image cuts off the other."""
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    tissue = (hu[slices, rows[0] : rows[-1] + 1] > -200).mean(axis=(0, 1))
    columns = np.flatnonzero(tissue > 0.05)
    if not len(columns):
        return None
    cut_right, cut_left = tissue[0] > 0.2, tissue[-1] > 0.2
    if cut_right and cut_left:
        return None
    if cut_left:
        return float(columns[0]) * column_mm + HALF_WIDTH_MM
    if cut_right:
        return float(columns[-1]) * column_mm - HALF_WIDTH_MM
    return float(columns[0] + columns[-1]) / 2 * column_mm


def _spine_x_mm(
    lung: np.ndarray,
    hu: np.ndarray,
    slices: np.ndarray,
    middle_mm: float | None,
    spacing_mm: tuple[float, float, float],
) -> float | None:
    """The column of bone that most slices share, behind the middle of the lungs and not far beside them.

    Shoulder blades are as dense: of two columns the one nearer to the middle of the body wins.
    """
    rows = np.count_nonzero(lung, axis=(0, 2)).astype(float)
    middle_y = int(rows @ np.arange(len(rows)) / rows.sum())
    behind = slice(middle_y, min(hu.shape[1], middle_y + int(130 / spacing_mm[1]) + 1))
    bone = (hu[slices, behind] > 160).mean(axis=0, dtype=np.float32)
    sigma = [12.0 / step for step in spacing_mm[1:]]
    density = ndimage.gaussian_filter(bone, sigma, mode="nearest").max(axis=0)
    x_mm = np.arange(lung.shape[2]) * spacing_mm[2]
    lung_x_mm = x_mm[lung.any(axis=(0, 1))]
    density[(x_mm < lung_x_mm[0] - 40) | (x_mm > lung_x_mm[-1] + 40)] = 0
    if density.max() < 0.12:
        return None
    if middle_mm is not None:
        density *= np.exp(-0.5 * ((x_mm - middle_mm) / 70.0) ** 2)
    return float(x_mm[density.argmax()])
