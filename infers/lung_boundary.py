"""The final outline of the lungs: vessels and hilum closed coarsely, the surface at full resolution."""

from __future__ import annotations

import fill_voids
import numpy as np
import scipy.ndimage as ndimage

from infers.coarse_grid import CoarseGrid, crop_of
from infers.inner_air import IN_PLANE
from infers.morphology import closed

CLOSING_MM = 6.0
LARGEST_SLICE_HOLE_MM2 = 400.0
SMOOTHING_MM = 0.6
SLAB_SLICES = 32


def closed_sides(sides: np.ndarray, barred: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Fill vessels, nodules and the hilar notches of each lung, without taking from the other lung.

    Args:
        sides: (z, y, x) uint8: 1 right lung, 2 left lung.
        barred: (z, y, x) bool, voxels that must stay outside, e.g. the airway.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) uint8, the same labels.
    """
    result = sides.copy()
    margin = int(np.ceil(CLOSING_MM / min(spacing_mm))) + 2
    for side in (1, 2):
        box = crop_of(sides == side, margin)
        lung = sides[box] == side
        if not lung.any():
            continue
        whole = fill_voids.fill(_without_slice_holes(closed(lung, CLOSING_MM, spacing_mm), spacing_mm))
        result[box][whole & ~barred[box] & (result[box] == 0)] = side
    return result


def _without_slice_holes(lung: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Fill holes of up to 4 cm2 within each slice: vessels, but not the dome of the diaphragm."""
    labels, count = ndimage.label(~lung, IN_PLANE)
    areas_mm2 = np.bincount(labels.ravel(), minlength=count + 1) * spacing_mm[1] * spacing_mm[2]
    fill = areas_mm2 <= LARGEST_SLICE_HOLE_MM2
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        fill[np.unique(edge)] = False
    fill[0] = False
    return lung | fill[labels]


def fine_sides(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    grid: CoarseGrid,
    sides: np.ndarray,
    smooth: np.ndarray,
    barred: np.ndarray,
    threshold_hu: float,
) -> np.ndarray:
    """Carry coarse lungs to the fine grid; where they meet tissue, the fine image decides.

    Args:
        hu: (z, y, x) int16 Hounsfield units on the fine grid.
        spacing_mm: (z, y, x) voxel size of the fine grid in mm.
        grid: The coarse grid.
        sides: (z, y, x) uint8 on the coarse grid: the aerated lungs, 1 right and 2 left.
        smooth: The same after `closed_sides`.
        barred: (z, y, x) bool on the coarse grid, voxels that must stay outside.
        threshold_hu: Below it a voxel at the surface is lung.

    Returns:
        (z, y, x) uint8 on the fine grid.
    """
    fine = np.zeros(hu.shape, np.uint8)
    fields = [_fields(sides, smooth, side) for side in (1, 2)]
    sigma = (0.0, SMOOTHING_MM / spacing_mm[1], SMOOTHING_MM / spacing_mm[2])
    used = np.flatnonzero((smooth > 0).any(axis=(1, 2)))
    begin = max(0, (used[0] - 1) * grid.factors[0])
    end = min(hu.shape[0], (used[-1] + 2) * grid.factors[0])
    for first in range(begin, end, SLAB_SLICES):
        last = min(end, first + SLAB_SLICES)
        slab = hu[first:last].astype(np.float32)
        dark = ndimage.gaussian_filter(slab, sigma, mode="nearest") < threshold_hu
        dark &= grid.refine(barred, first, last) < 0.35
        strongest = np.zeros(dark.shape, np.float32)
        for side, (near, inner) in enumerate(fields, start=1):
            nearness = grid.refine(near, first, last)
            chosen = (dark & (nearness > 0.5)) | (grid.refine(inner, first, last) > 0.5)
            strength = grid.refine(smooth == side, first, last) + 0.01 * nearness
            chosen &= strength > strongest
            fine[first:last][chosen] = side
            strongest = np.maximum(strongest, strength)
    for side in (1, 2):
        box = crop_of(fine == side, 1)
        lung = fine[box] == side
        if lung.any():
            fine[box][fill_voids.fill(lung) & (fine[box] == 0)] = side
    return fine


def _fields(sides: np.ndarray, smooth: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the fine threshold may add lung, and what is lung whatever the fine image says."""
    near = ndimage.binary_dilation(sides == side, iterations=1) & ((smooth == side) | (smooth == 0))
    inner = ndimage.binary_erosion(smooth == side, iterations=1, border_value=1)
    added = (smooth == side) & ~ndimage.binary_dilation(sides == side)
    return near, inner | added
