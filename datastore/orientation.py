"""Turning a stored array so that it lies along LPS, and its exact undo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from datastore.geometry import Geometry
from datastore.room import room


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of array axes: no voxel is resampled, so it can be undone exactly.

    Attributes:
        axes: For each LPS array axis (z, y, x), the stored array axis it comes from.
        flips: For each LPS array axis, whether the stored axis runs the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of a stored array along LPS: (z, y, x), index 0 inferior, anterior, right."""
        turned = array.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """A view of an LPS array in the stored order; inverse of `apply`."""
        turned = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return turned.transpose(np.argsort(self.axes))

    def room(self, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """An array in the stored order, not filled yet, that `apply` gives in C order: its memory lies along LPS."""
        return self.undo(room(tuple(shape[axis] for axis in self.axes), dtype))

    def geometry(self, stored: Geometry, shape: tuple[int, ...]) -> Geometry:
        """The grid of the turned array, for a stored array of `shape`."""
        index_axes = [2 - self.axes[2 - n] for n in range(3)]  # array axis a holds index axis 2 - a
        flips = [self.flips[2 - n] for n in range(3)]
        affine = stored.affine
        turned = np.eye(4)
        turned[:3, 3] = affine[:3, 3]
        for new, (old, flip) in enumerate(zip(index_axes, flips, strict=True)):
            column = affine[:3, old]
            turned[:3, new] = -column if flip else column
            if flip:
                turned[:3, 3] += column * (shape[2 - old] - 1)
        spacing = tuple(stored.spacing_mm[old] for old in index_axes)
        return Geometry.from_affine(turned, spacing_mm=(spacing[0], spacing[1], spacing[2]))


def to_lps(geometry: Geometry) -> Reorientation:
    """How to turn an array on `geometry` so that its axes come nearest to LPS.

    Oblique axes go to the anatomical axis with which they share the largest direction cosines in sum,
    each anatomical axis taken once.
    """
    cosines = geometry.matrix
    patient_axes, index_axes = linear_sum_assignment(-np.abs(cosines))
    source = dict(zip(patient_axes.tolist(), index_axes.tolist(), strict=True))
    axes = (2 - source[2], 2 - source[1], 2 - source[0])
    flips = tuple(bool(cosines[patient, source[patient]] < 0) for patient in (2, 1, 0))
    return Reorientation(axes, (flips[0], flips[1], flips[2]))
