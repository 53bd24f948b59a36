"""Trachea and main bronchi in CT, found as a tube of air and grown until they would leak into the lung."""

from __future__ import annotations

import cc3d
import numpy as np
import scipy.ndimage as ndimage

from infers.inner_air import IN_PLANE, InnerAir
from infers.morphology import depth_mm, opened

WIDEST_RADIUS_MM = 13.0


def find_airway(hu: np.ndarray, air: InnerAir, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Find trachea and main bronchi; empty where no trachea is in view.

    Explosion-controlled region growing: the threshold rises from air towards lung and stays below the one
    at which the volume jumps. Bronchi thinner than about 5 mm are left to the lung.

    Args:
        hu: (z, y, x) float32 Hounsfield units on a grid of about 2 mm.
        air: The air inside the body on the same grid.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) bool, the lumen with its partial-volume rim.
    """
    trachea = _trachea(hu, air, spacing_mm)
    if not trachea.any():
        return trachea
    box = _around(trachea, spacing_mm)
    lumen = np.zeros_like(trachea)
    lumen[box] = _grown(hu[box], trachea[box], air.mask[box], air.level_hu, spacing_mm)
    wide = opened(lumen, 2.5, spacing_mm) | trachea
    return ndimage.binary_dilation(wide) & air.mask


def _trachea(hu: np.ndarray, air: InnerAir, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The best vertical chain of small round pieces of air, one per slice."""
    lung_z = np.flatnonzero((air.mask & ~air.gas).any(axis=(1, 2)))
    lowest_z = float(np.mean(lung_z)) if len(lung_z) else 0.0
    best, best_score = np.zeros_like(air.mask), 0.0
    for above_level in (100, 200, 350):
        small = _round_pieces(air.mask & (hu < air.level_hu + above_level), spacing_mm)
        labels = cc3d.connected_components(small, connectivity=6)
        statistics = cc3d.statistics(labels)
        for number in range(1, len(statistics["voxel_counts"])):
            box = statistics["bounding_boxes"][number]
            z_extent_mm = (box[0].stop - box[0].start) * spacing_mm[0]
            whole_stack = box[0].stop - box[0].start == hu.shape[0]
            if z_extent_mm < 25 and not (whole_stack and z_extent_mm >= 2 * spacing_mm[0]):
                continue
            chain = labels[box] == number
            middle_z = statistics["centroids"][number][0]
            if middle_z < lowest_z and not whole_stack:
                continue
            darkness = np.clip((air.level_hu + 200 - np.percentile(hu[box][chain], 25)) / 200, 0, 1)
            score = float(darkness * z_extent_mm * _steadiness(chain))
            if darkness > 0.4 and score > 1.2 * best_score:
                best, best_score = labels == number, score
    return best


def _steadiness(chain: np.ndarray) -> float:
    """1 for a tube of constant width, towards 0 for a cone such as the apex of a lung."""
    areas = np.count_nonzero(chain, axis=(1, 2))
    return float(max(0.0, 1.0 - areas.std() / areas.mean()))


def _round_pieces(air: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The pieces of air of each slice that are as large and round as a trachea or a main bronchus."""
    labels, count = ndimage.label(air, IN_PLANE)
    keep = np.zeros(count + 1, bool)
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    areas = np.bincount(labels.ravel(), minlength=count + 1) * pixel_mm2
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        high_mm = (box[1].stop - box[1].start) * spacing_mm[1]
        wide_mm = (box[2].stop - box[2].start) * spacing_mm[2]
        keep[number] = (
            40 <= areas[number] <= 900
            and max(high_mm, wide_mm) < 45
            and max(high_mm, wide_mm) < 2.5 * min(high_mm, wide_mm)
            and areas[number] > 0.5 * high_mm * wide_mm
        )
    return keep[labels]


def _around(trachea: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """The box within which main bronchi may lie: 70 mm to either side and below."""
    box = ndimage.find_objects(trachea.astype(np.uint8))[0]
    reach = [int(np.ceil(mm / step)) for mm, step in zip((70, 50, 70), spacing_mm, strict=True)]
    z, y, x = (slice(max(0, part.start - by), part.stop + by) for part, by in zip(box, reach, strict=True))
    return z, y, x


def _grown(
    hu: np.ndarray,
    trachea: np.ndarray,
    air: np.ndarray,
    level_hu: float,
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    voxel_ml = np.prod(spacing_mm) / 1000.0
    tubular = (air & (depth_mm(air, spacing_mm) < WIDEST_RADIUS_MM)) | trachea
    lumen, volume_ml = trachea, trachea.sum() * voxel_ml
    limit_ml = volume_ml + 40.0
    for above_level in range(60, 375, 15):
        dark = tubular & (hu < level_hu + above_level)
        labels = cc3d.connected_components(dark | trachea, connectivity=6)
        wider = labels == labels[trachea][0]
        wider_ml = wider.sum() * voxel_ml
        if wider_ml > min(limit_ml, 1.35 * volume_ml + 6.0):
            break
        lumen, volume_ml = wider, wider_ml
    return lumen
