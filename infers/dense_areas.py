"""Lung masks without effusion, consolidation and tumour, as the reference of LOLA11 is without them.

Where dense areas are is decided on a coarse grid, smoothed, and in mm: noise, kernel and spacing matter little, and a
scan of 600 slices takes seconds. Where exactly they end is read from the scan's own voxels.

Source: Hofmanninger et al. 2020, section III-D: "simple thresholding of values between -50 < HU < 70 and morphological
operations". Which operations it does not say; they are ours.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndimage

from datastore.volume import Volume
from infers.coarse_grid import CoarseGrid
from infers.morphology import closed, dilated, eroded, opened
from infers.regions import Box, bounding_box, find_regions

DENSE_HU = (-50, 70)  # section III-D
CLIPPED_HU = (-230, 250)  # as far below the middle of that range as above: noise does not move the mean of effusion
GRID_MM = 1.5
SMOOTHING_MM = 1.0  # standard deviation; the noise of a sharp kernel is as wide as the whole range
SMOOTHING_BLOCKS = 0.8  # at least, where blocks are larger
VESSEL_RADIUS_MM = 5.5  # thinner areas stay: lobar vessels measure 10 mm, walls, septa and a rim of chest wall less
TAPER_RADIUS_MM = 2.5  # where a wide area grows thinner, as effusion does, it goes on to this
TAPER_MM = 10.0  # but no further along a vessel that leaves it
SMALLEST_AREA_ML = 1.0  # a tumour of 12 mm; less is where vessels meet
GAP_MM = 4.0  # a bronchus in a consolidation goes with it
EDGE_MM = 3.0  # around an area soft tissue goes as well: partial volume, and the pleura that an effusion lies on
SOFT_HU = -400  # half-way from lung to soft tissue, where the border of an area lies
SMALLEST_ISLAND_ML = 1.0  # of lung that a dense area cut off
SLICES_AT_ONCE = 8
LUNG, CUT = 1, 2


def without_dense_areas(image: Volume, mask: Volume) -> Volume:
    """A mask without its large dense areas; vessels, bronchial walls, septa and the border of healthy lung stay.

    Args:
        image: (z, y, x) int16 Hounsfield units.
        mask: (z, y, x) uint8 labels of lungs or lobes on the same grid.

    Returns:
        (z, y, x) uint8: the labels, 0 in dense areas; `mask` itself if there are none.

    Raises:
        ValueError: If the shapes differ.
    """
    if mask.array.shape != image.array.shape:
        raise ValueError(f"mask grid {mask.array.shape[::-1]} does not match image {image.array.shape[::-1]}")
    hu, labels = image.to_lps().array, mask.to_lps().array
    whole = CoarseGrid.near(_shape(labels), mask.to_lps().spacing_zyx_mm, GRID_MM)
    box = _in_blocks(bounding_box(labels), whole)
    grid = CoarseGrid(_shape(labels[box]), whole.factors, whole.spacing_mm)
    core = _dense_core(hu[box], labels[box], grid)
    if not core.any():
        return mask
    result = labels.copy()
    _cut(result[box], hu[box], core, grid, mask.geometry.voxel_ml)
    return mask.with_lps_array(result)


def _shape(array: np.ndarray) -> tuple[int, int, int]:
    z, y, x = array.shape
    return z, y, x


def _in_blocks(box: Box, grid: CoarseGrid) -> Box:
    """A box widened to whole blocks and one more on each side, as far as the scan reaches."""
    z, y, x = (
        slice(max(0, part.start // factor - 1) * factor, min(size, (-(-part.stop // factor) + 1) * factor))
        for part, factor, size in zip(box, grid.factors, grid.shape, strict=True)
    )
    return z, y, x


def _dense_core(hu: np.ndarray, labels: np.ndarray, grid: CoarseGrid) -> np.ndarray:
    """Where the dense areas are, on the coarse grid: (z, y, x) bool, at most about a block too small.

    Args:
        hu: (z, y, x) Hounsfield units around the lungs.
        labels: (z, y, x) uint8 mask.
        grid: Its blocks.
    """
    inside = grid.block_mean((labels > 0).view(np.uint8), 0, 1) >= 0.5
    smoothed = grid.block_mean(hu, *CLIPPED_HU)
    sigma_mm = max(SMOOTHING_MM, SMOOTHING_BLOCKS * min(grid.spacing_mm))
    sigma = [sigma_mm / step for step in grid.spacing_mm]
    ndimage.gaussian_filter(smoothed, sigma, output=smoothed)
    in_range = ((smoothed > DENSE_HU[0]) & (smoothed < DENSE_HU[1])).astype(np.float32)
    dense = inside & (ndimage.gaussian_filter(in_range, sigma) > 0.5)
    wide = _opened(dense, VESSEL_RADIUS_MM, grid)
    pieces = find_regions(wide.astype(np.uint8), connectivity=6)
    is_large = pieces.voxels * np.prod(grid.spacing_mm) >= SMALLEST_AREA_ML * 1000.0
    large = pieces.mapped(is_large).astype(bool)
    if not large.any():
        return large
    tapering = _opened(dense, TAPER_RADIUS_MM, grid) & dilated(large, TAPER_MM, grid.spacing_mm)
    areas = find_regions((large | tapering).astype(np.uint8), connectivity=6)
    is_area = np.zeros(len(areas) + 1, np.uint8)
    is_area[np.unique(areas.numbers[large])] = 1
    return closed(areas.mapped(is_area).astype(bool), GAP_MM / 2, grid.spacing_mm) & inside


def _opened(mask: np.ndarray, radius_mm: float, grid: CoarseGrid) -> np.ndarray:
    """A (z, y, x) mask without what is thinner than a ball; distances there go to the centre of the next block."""
    reach_mm = radius_mm + 0.5 * min(grid.spacing_mm)
    return opened(mask, reach_mm, grid.spacing_mm)


def _cut(labels: np.ndarray, hu: np.ndarray, core: np.ndarray, grid: CoarseGrid, voxel_ml: float) -> None:
    """Take dense areas out of a mask, in place: their inside, and what is soft at their edge.

    Args:
        labels: (z, y, x) uint8.
        hu: (z, y, x) Hounsfield units.
        core: (z, y, x) bool on the coarse grid.
        grid: Of blocks of `labels`.
        voxel_ml: Volume of a voxel of `labels`.
    """
    near = dilated(core, EDGE_MM, grid.spacing_mm)
    coarse = _in_blocks(bounding_box(near), CoarseGrid(_shape(core), (1, 1, 1), grid.spacing_mm))
    z, y, x = (
        slice(part.start * factor, part.stop * factor) for part, factor in zip(coarse, grid.factors, strict=True)
    )
    lung, hu = labels[z, y, x], hu[z, y, x]
    deep = eroded(core, min(grid.spacing_mm), grid.spacing_mm)[coarse]
    near = near[coarse]
    crop = CoarseGrid(_shape(lung), grid.factors, grid.spacing_mm)
    removed = np.zeros(lung.shape, bool)
    for first in range(0, len(lung), SLICES_AT_ONCE):
        last = min(first + SLICES_AT_ONCE, len(lung))
        some = slice(first, last)
        goes = (crop.refine(near, first, last) >= 0.5) & (hu[some] > SOFT_HU)
        goes |= crop.refine(deep, first, last) >= 0.5
        removed[some] = goes & (lung[some] > 0)
    lung[removed] = 0
    _remove_islands(lung, removed, voxel_ml)


def _remove_islands(lung: np.ndarray, removed: np.ndarray, voxel_ml: float) -> None:
    """Take out, in place, the small pieces that dense areas cut off from the lung.

    What reaches the border of the array goes on beyond it, and is no island; nor is what was a piece by itself.
    """
    parts = (lung > 0).astype(np.uint8)
    parts[removed] = CUT
    pieces = find_regions(parts, connectivity=6)
    is_small = (pieces.labels == LUNG) & (pieces.voxels * voxel_ml < SMALLEST_ISLAND_ML)
    for axis in range(3):
        for face in (0, -1):
            is_small[np.unique(pieces.numbers.take(face, axis=axis))] = False
    small, other = pieces.contacts(np.flatnonzero(is_small), connectivity=6)
    islands = np.zeros(len(pieces) + 1, np.uint8)
    islands[small[pieces.labels[other] == CUT]] = 1
    if islands.any():
        lung[pieces.mapped(islands).astype(bool)] = 0
