"""Lungs in CT without any trained weights: threshold, airway removal, left and right, smooth boundary."""

from __future__ import annotations

import numpy as np

from infers.airway import find_airway
from infers.coarse_grid import CoarseGrid
from infers.inner_air import InnerAir, field_padding, find_inner_air
from infers.lung_boundary import closed_sides, fine_sides
from infers.lung_pieces import find_lung_pieces
from infers.sides import separate_sides

BLOCK_MM = 2.0
LARGEST_LUNGS_ML = 11_000.0  # total lung capacity of the tallest; more is the air of the room


def threshold_lungs(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Segment both lungs by their air.

    Dense disease beyond the reach of a moderate closing is missed, as with any threshold.

    Args:
        hu: (z, y, x) int16 Hounsfield units along LPS: z upwards, y to posterior, x to the patient's left.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) uint8: 0 background, 1 right lung, 2 left lung. All 0 where no lung is in view.

    Raises:
        ValueError: If `hu` has not three axes or is not int16, or a spacing is not above 0.

    Source: after Hu, Hoffman and Reinhardt 2001 (optimal threshold, airway removal, separation, smoothing);
    components below 25 ml removed as in Hofmanninger et al. 2020, section II-E.
    """
    if hu.ndim != 3:
        raise ValueError(f"expected hu with three axes (z, y, x), got shape {hu.shape}")
    if hu.dtype != np.int16:
        raise ValueError(f"expected hu as int16, got {hu.dtype}")
    if len(spacing_mm) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing_mm):
        raise ValueError(f"expected spacing_mm as three numbers above 0 (z, y, x), got {spacing_mm}")
    if hu.size == 0:
        return np.zeros(hu.shape, np.uint8)
    z, y, x = hu.shape
    grid = CoarseGrid.near((z, y, x), spacing_mm, BLOCK_MM)
    coarse_hu = grid.block_mean(hu, -1100, 600)
    padding = field_padding(hu, grid)
    air, airway, lung = _aerated(coarse_hu, padding, grid.spacing_mm, may_be_cut=True)
    if np.count_nonzero(lung) * np.prod(grid.spacing_mm) / 1000.0 > LARGEST_LUNGS_ML:  # the room, taken for cut lungs
        air, airway, lung = _aerated(coarse_hu, padding, grid.spacing_mm, may_be_cut=False)
    if not lung.any():
        return np.zeros(hu.shape, np.uint8)
    sides = separate_sides(lung, grid.spacing_mm, coarse_hu, airway)
    barred = airway | air.gas
    smooth = closed_sides(sides, barred, grid.spacing_mm)
    return fine_sides(hu, spacing_mm, grid, sides, smooth, barred, _midway_hu(coarse_hu, lung))


def _aerated(
    hu: np.ndarray, padding: np.ndarray, spacing_mm: tuple[float, float, float], *, may_be_cut: bool
) -> tuple[InnerAir, np.ndarray, np.ndarray]:
    """Air inside the body, and which of it is airway and which lung."""
    air = find_inner_air(hu, padding, spacing_mm, may_be_cut=may_be_cut)
    airway = find_airway(hu, air, spacing_mm)
    return air, airway, find_lung_pieces(hu, air, airway, spacing_mm)


def _midway_hu(hu: np.ndarray, lung: np.ndarray) -> float:
    """Halfway between this lung and soft tissue at 40 HU, within [-500, -350]."""
    return float(np.clip((np.median(hu[lung]) + 40.0) / 2.0, -500.0, -350.0))
