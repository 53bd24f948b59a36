"""How far one version of a mask is from another: what was added, removed and given to the other lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.labels import LUNGS
from datastore.volume import Volume

LABELS = len(LUNGS) + 1
SAME_GRID = 0.1  # of the smallest spacing, as for a mask and its image


@dataclass(frozen=True)
class Difference:
    """What lies between two versions of a mask.

    Attributes:
        added_ml: Background before, lung after.
        removed_ml: Lung before, background after.
        relabelled_ml: One lung before, the other after.
        dice: Dice coefficient 0..1 by the structure's name; 1 where neither version has the structure.
        changed_slices: Indices along the first array axis (z) of the slices with a voxel that differs.
        present: Names of the structures that at least one version has.
    """

    added_ml: float
    removed_ml: float
    relabelled_ml: float
    dice: dict[str, float]
    changed_slices: tuple[int, ...]
    present: tuple[str, ...]

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice over the structures that at least one version has; None if there are none."""
        values = [self.dice[name] for name in self.present]
        return sum(values) / len(values) if values else None

    @property
    def edited_ml(self) -> float:
        """Volume of all voxels whose label differs."""
        return self.added_ml + self.removed_ml + self.relabelled_ml


def edited_ml(before: Volume | None, after: Volume) -> float:
    """How much of a mask an annotator changed, in ml.

    Args:
        before: (z, y, x) labels that the work began with; None if it began with nothing.
        after: (z, y, x) labels on the same grid.

    Returns:
        Volume of the voxels whose label differs; of all that is drawn where there was nothing before.

    Raises:
        ValueError: If the two are not on one grid.
    """
    if before is None:
        return int(np.count_nonzero(after.array)) * after.geometry.voxel_ml
    _check_grids(before, after)
    planes = zip(before.array, after.array, strict=True)  # slice by slice: no copy of the whole mask
    return sum(int(np.count_nonzero(old != new)) for old, new in planes) * after.geometry.voxel_ml


def compare(before: Volume, after: Volume) -> Difference:
    """What was done to a mask.

    Args:
        before: (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.
        after: The same, on the same grid.

    Raises:
        ValueError: If the two are not on one grid, or a label is unknown.
    """
    _check_grids(before, after)
    counts = np.zeros((LABELS, LABELS), np.int64)  # voxels by (label before, label after)
    changed = []
    for z, (old, new) in enumerate(zip(before.array, after.array, strict=True)):
        highest = max(int(old.max()), int(new.max()))
        if highest >= LABELS:
            raise ValueError(f"label value {highest} is unknown: expected 0 to {LABELS - 1}")
        pairs = np.bincount((old * np.uint8(LABELS) + new).ravel(), minlength=LABELS**2).reshape(LABELS, LABELS)
        counts += pairs
        if pairs.sum() != pairs.trace():
            changed.append(z)
    voxel_ml = after.geometry.voxel_ml
    added, removed = int(counts[0, 1:].sum()), int(counts[1:, 0].sum())
    edited = int(counts.sum() - counts.trace())
    return Difference(
        added_ml=added * voxel_ml,
        removed_ml=removed * voxel_ml,
        relabelled_ml=(edited - added - removed) * voxel_ml,
        dice={structure.name: _dice(counts, structure.value) for structure in LUNGS},
        changed_slices=tuple(changed),
        present=tuple(item.name for item in LUNGS if counts[item.value].any() or counts[:, item.value].any()),
    )


def _dice(counts: np.ndarray, value: int) -> float:
    both = int(counts[value].sum() + counts[:, value].sum())
    return 2 * int(counts[value, value]) / both if both else 1.0


def _check_grids(before: Volume, after: Volume) -> None:
    if before.array.shape != after.array.shape:
        raise ValueError(f"expected masks on one grid, got {before.array.shape[::-1]} and {after.array.shape[::-1]}")
    distance_mm = before.geometry.corner_distance_mm(after.geometry, after.array.shape)
    if distance_mm > SAME_GRID * min(after.geometry.spacing_mm):
        raise ValueError(f"expected masks on one grid, got the same corner {distance_mm:.2f} mm apart")
