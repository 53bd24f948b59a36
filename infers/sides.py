"""Which part of a lung mask is the patient's right lung and which the left."""

from __future__ import annotations

import cc3d
import numpy as np
import scipy.ndimage as ndimage

from infers.coarse_grid import crop_of
from infers.midline import midline_x_mm
from infers.morphology import depth_mm, distance_mm

RIGHT, LEFT = 1, 2


def separate_sides(
    lung: np.ndarray,
    spacing_mm: tuple[float, float, float],
    hu: np.ndarray | None = None,
    airway: np.ndarray | None = None,
) -> np.ndarray:
    """Label a lung mask by side; two lungs that touch are cut where their contact is narrowest and densest.

    Args:
        lung: (z, y, x) bool along LPS (x grows to the patient's left).
        spacing_mm: (z, y, x) voxel size in mm.
        hu: (z, y, x) Hounsfield units on the same grid. They give the spine, by which a lung that is alone
            in view gets its side, and the junction lines for the cut. Without them position alone decides.
        airway: (z, y, x) bool, trachea and main bronchi where known; they lie near the midline.

    Returns:
        (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.
    """
    sides = np.zeros(lung.shape, np.uint8)
    crop = crop_of(lung, 1)
    inside = lung[crop]
    if not inside.any():
        return sides
    near_hu = None if hu is None else hu[crop]
    pieces = _cut_apart(inside, near_hu, spacing_mm)
    midline_mm = midline_x_mm(lung, spacing_mm, hu, airway) - crop[2].start * spacing_mm[2]
    sides[crop] = _by_position(pieces, midline_mm, spacing_mm)
    return sides


def _cut_apart(lung: np.ndarray, hu: np.ndarray | None, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Components of a lung mask, with a component that holds both lungs cut into two."""
    pieces = cc3d.connected_components(lung, connectivity=6, out_dtype=np.uint32).astype(np.int32)
    counts = np.bincount(pieces.ravel())
    counts[0] = 0
    for number in np.flatnonzero(counts > 0.1 * counts.sum()):
        box = crop_of(pieces == number, 1)
        part = pieces[box] == number
        seeds = _two_seeds(part, spacing_mm)
        if seeds is None:
            continue
        cut = _flooded(part, seeds, None if hu is None else hu[box], spacing_mm)
        pieces[box][cut == 2] = len(counts)
        counts = np.append(counts, 0)
    return pieces


def _two_seeds(part: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray | None:
    """The two large side-by-side cores into which erosion breaks a mask, as 1 and 2; None for one lung."""
    depth = depth_mm(part, spacing_mm)
    whole = np.count_nonzero(part)
    for radius_mm in (0.5, 1.5, 2.5, 3.5, 4.5, 6.0, 7.5, 9.0, 11.0, 13.0):
        labels = cc3d.connected_components(depth > radius_mm, connectivity=6)
        statistics = cc3d.statistics(labels)
        counts = statistics["voxel_counts"].astype(float)
        counts[0] = 0
        if len(counts) < 3 or counts.sum() < 0.1 * whole:
            continue
        first, second = np.argsort(counts)[::-1][:2]
        if counts[second] < 0.15 * counts.sum():
            continue
        if _side_by_side(labels == first, labels == second, spacing_mm):
            return ((labels == first) + 2 * (labels == second)).astype(np.uint8)
    return _seeds_beside_waist(part, spacing_mm)


def _seeds_beside_waist(part: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray | None:
    """For widely joined lungs: what lies to either side of the sagittal plane with the least contact."""
    areas = ndimage.gaussian_filter1d(np.count_nonzero(part, axis=(0, 1)).astype(float), 4.0 / spacing_mm[2])
    valley_depth = np.minimum(np.maximum.accumulate(areas), np.maximum.accumulate(areas[::-1])[::-1]) - areas
    waist = int(valley_depth.argmax())
    right_peak, left_peak = areas[: waist + 1].argmax(), waist + areas[waist:].argmax()
    shares = np.array([areas[:waist].sum(), areas[waist:].sum()]) / max(areas.sum(), 1.0)
    is_narrow = areas[waist] < 0.6 * min(areas[right_peak], areas[left_peak])
    if not is_narrow or shares.min() < 0.15 or (left_peak - right_peak) * spacing_mm[2] < 60:
        return None
    away_mm = (np.arange(part.shape[2]) - waist) * spacing_mm[2]
    return (part * np.select([away_mm < -15, away_mm > 15], [1, 2], 0)).astype(np.uint8)


def _side_by_side(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, float, float]) -> bool:
    """Whether two pieces lie beside each other as two lungs do, and not above or before each other."""
    gap_z, gap_y, gap_x = (
        abs(a - b) * step for a, b, step in zip(_centre(first), _centre(second), spacing_mm, strict=True)
    )
    return gap_x > 1.2 * max(gap_z, gap_y) and gap_x > 40


def _centre(mask: np.ndarray) -> np.ndarray:
    return np.array([float(index.mean()) for index in np.nonzero(mask)])


def _flooded(
    part: np.ndarray, seeds: np.ndarray, hu: np.ndarray | None, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Watershed from two seeds: dense voxels (junction lines) and narrow places are crossed last."""
    depth = depth_mm(part, spacing_mm)
    height = 60.0 * np.exp(-depth / 3.0)
    if hu is not None:
        height += np.clip((hu + 950.0) / 4.0, 0, 150)
    markers = seeds.astype(np.int16)
    markers[~part] = 3
    flooded = ndimage.watershed_ift(height.astype(np.uint8), markers)
    flooded[~part] = 0
    stray = part & (flooded == 3)
    if stray.any():
        nearer_first = distance_mm(seeds == 1, spacing_mm) <= distance_mm(seeds == 2, spacing_mm)
        flooded[stray] = np.where(nearer_first[stray], 1, 2)
    return flooded


def _by_position(pieces: np.ndarray, midline_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Give every piece its side: the two main lungs by their order, the others by the midline between."""
    statistics = cc3d.statistics(pieces.astype(np.uint32))
    counts = statistics["voxel_counts"].astype(float)
    counts[0] = 0
    centres_mm = statistics["centroids"] * np.array(spacing_mm)
    first, second = np.argsort(counts)[::-1][:2]
    is_left = centres_mm[:, 2] > midline_mm
    if counts[second] > 0.1 * counts[first]:
        apart = np.abs(centres_mm[first] - centres_mm[second])
        between = sorted((centres_mm[first, 2], centres_mm[second, 2]))
        if apart[2] > 1.2 * max(apart[0], apart[1]) and between[0] - 20 < midline_mm < between[1] + 20:
            middle_mm = float(np.clip(midline_mm, between[0] + 0.35 * apart[2], between[1] - 0.35 * apart[2]))
            is_left = centres_mm[:, 2] > middle_mm
            is_left[first] = centres_mm[first, 2] > centres_mm[second, 2]
            is_left[second] = not is_left[first]
    labels = np.where(is_left, LEFT, RIGHT).astype(np.uint8)
    labels[0] = 0
    return labels[pieces]
