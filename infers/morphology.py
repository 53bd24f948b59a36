"""Morphology with balls whose radius is given in mm, exact on anisotropic grids and fast for any radius."""

from __future__ import annotations

import edt
import numpy as np


def depth_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance of each voxel inside a mask to the nearest voxel outside; the array's border is no outside.

    Args:
        mask: (z, y, x) bool.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) float32 mm, 0 outside the mask, infinite where nothing lies outside.
    """
    return edt.edt(np.ascontiguousarray(mask), anisotropy=spacing_mm, black_border=False, parallel=1)


def distance_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance of each voxel to the nearest voxel of a mask: (z, y, x) float32 mm, 0 inside the mask."""
    return depth_mm(~mask, spacing_mm)


def dilated(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A (z, y, x) mask grown by `radius_mm`."""
    return distance_mm(mask, spacing_mm) <= radius_mm


def eroded(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A (z, y, x) mask shrunk by `radius_mm`, except at the array's border."""
    return depth_mm(mask, spacing_mm) > radius_mm


def opened(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A (z, y, x) mask without its parts thinner than `2 * radius_mm`."""
    return dilated(eroded(mask, radius_mm, spacing_mm), radius_mm, spacing_mm) & mask


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A (z, y, x) mask with its gaps narrower than `2 * radius_mm` filled."""
    return eroded(dilated(mask, radius_mm, spacing_mm), radius_mm, spacing_mm) | mask
