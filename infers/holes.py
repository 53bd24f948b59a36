"""Holes in lungs: background that one lung closes in on all sides."""

from __future__ import annotations

import fill_voids
import numpy as np

from infers.regions import bounding_box, find_regions

LARGEST_HOLE_SHARE_IN_A_SLICE = 0.02  # of the lung: a vessel or a bronchus, but not the dome of the liver
HOLE = 255


def fill_holes(mask: np.ndarray, lungs: list[tuple[int, ...]]) -> None:
    """Fill the holes of each lung, in place.

    A hole is background from which no way through faces of voxels leads out of one lung. What only both lungs
    together close in is mediastinum, and what is open at an end of the scan may be anything, such as the liver
    below a ring of lung: both stay. In a mask of a single slice, where everything is open, a hole is what the lung
    closes in within the slice and is small beside the lung.

    Args:
        mask: (z, y, x) uint8 labels.
        lungs: The labels of each lung. A hole between several, such as two lobes, gets the label around most of it.
    """
    for labels in lungs:
        inside = mask == labels[0] if len(labels) == 1 else np.isin(mask, labels)
        box = bounding_box(inside)
        lung = mask[box]
        if not lung.size:
            continue
        holes = _closed_in_slice(inside[box]) if len(mask) == 1 else _closed_in(inside[box])
        del inside  # of the whole mask
        holes &= lung == 0
        if not holes.any():
            continue
        if len(labels) == 1:
            lung[holes] = labels[0]
        else:
            _fill_between(lung, holes, labels)


def _closed_in(lung: np.ndarray) -> np.ndarray:
    """What a lung closes in on all sides: (z, y, x) bool."""
    padded = np.pad(lung, 1)  # in the edges of an array, fill_voids 2.1 takes open background for holes
    holes = fill_voids.fill(padded.T, in_place=True).T[1:-1, 1:-1, 1:-1]  # transposed, as it wants Fortran order
    holes &= ~lung
    return holes


def _closed_in_slice(lung: np.ndarray) -> np.ndarray:
    """What a lung closes in within a single slice, if it is small: (1, y, x) bool."""
    holes = fill_voids.fill(lung[0])[np.newaxis] & ~lung
    pieces = find_regions(holes.astype(np.uint8), connectivity=6)
    is_small = pieces.voxels <= LARGEST_HOLE_SHARE_IN_A_SLICE * np.count_nonzero(lung)
    return pieces.mapped(is_small & (pieces.labels > 0)).astype(bool)


def _fill_between(mask: np.ndarray, holes: np.ndarray, labels: tuple[int, ...]) -> None:
    """Give each hole, in place, the label with which it shares the largest border."""
    pieces = find_regions(np.where(holes, HOLE, mask).astype(np.uint8), connectivity=6)
    numbers = np.flatnonzero(pieces.labels == HOLE)
    values = pieces.labels.copy()
    for number, border in zip(numbers, pieces.outer_voxels(numbers.tolist()), strict=True):
        around = np.bincount(mask.ravel()[border], minlength=HOLE + 1)
        values[number] = max(labels, key=lambda label: around[label])
    mask[holes] = pieces.mapped(values)[holes]
