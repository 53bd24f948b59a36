"""From the coarse grid of shapes to the slices of a scan: cubic interpolation by matrices, cut to where shapes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Region = tuple[slice, slice]


def cubic_matrix(coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """(fine, coarse) float32 weights of Catmull-Rom interpolation on an even axis, clamped at its ends.

    >>> cubic_matrix(np.arange(5.0), np.array([2.0, 2.5])).round(4).tolist()
    [[0.0, 0.0, 1.0, 0.0, 0.0], [0.0, -0.0625, 0.5625, 0.5625, -0.0625]]
    """
    step = coarse[1] - coarse[0] if len(coarse) > 1 else 1.0
    place = (fine - coarse[0]) / step
    base = np.clip(np.floor(place).astype(int), 0, max(len(coarse) - 2, 0))
    t = np.clip(place - base, 0, 1)
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    matrix = np.zeros((len(fine), len(coarse)), np.float32)
    rows = np.arange(len(fine))
    for shift, weight in zip((-1, 0, 1, 2), taps, strict=True):
        np.add.at(matrix, (rows, np.clip(base + shift, 0, len(coarse) - 1)), weight.astype(np.float32))
    return matrix


@dataclass(frozen=True, eq=False)
class Sampler:
    """Cuts slices out of coarse fields.

    Attributes:
        coarse_mm: (z, y, x) positions of the coarse grid.
        fine_mm: (z, y, x) positions of the scan.
        matrices: (z, y, x) weights between them.
    """

    coarse_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    fine_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    matrices: tuple[np.ndarray, np.ndarray, np.ndarray]

    def level(self, field: np.ndarray, index: int) -> np.ndarray:
        """(y, x) coarse plane of a (z, y, x) field at the height of one slice of the scan."""
        weights = self.matrices[0][index]
        used = np.flatnonzero(weights)
        if len(used) == 1:
            return field[used[0]]
        plane = weights[used[0]] * field[used[0]]
        for k in used[1:]:
            plane += weights[k] * field[k]
        return plane

    def region(self, plane: np.ndarray, below: float) -> tuple[Region, Region] | None:
        """The (coarse, fine) rectangle outside which a plane is above a value; None where it is nowhere below."""
        inside = plane < below
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            return None
        coarse, fine = [], []
        for used, axis, target in ((rows, *self._axis(1)), (columns, *self._axis(2))):
            first, last = max(int(used[0]) - 1, 0), min(int(used[-1]) + 1, len(axis) - 1)
            low, high = np.searchsorted(target, (axis[first] - 1e-3, axis[last] + 1e-3))
            coarse.append(slice(max(first - 2, 0), last + 3))
            fine.append(slice(int(low), int(high)))
        if fine[0].start >= fine[0].stop or fine[1].start >= fine[1].stop:
            return None
        return (coarse[0], coarse[1]), (fine[0], fine[1])

    def _axis(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        return self.coarse_mm[axis], self.fine_mm[axis]

    def refine(self, plane: np.ndarray, coarse: Region, fine: Region) -> np.ndarray:
        """(y, x) values on the scan's grid in a rectangle of it."""
        rows = self.matrices[1][fine[0], coarse[0]]
        columns = self.matrices[2][fine[1], coarse[1]]
        return (rows @ plane[coarse]) @ columns.T

    def nearest(self, plane: np.ndarray, fine: Region) -> np.ndarray:
        """(y, x) values of the nearest points of a coarse plane on the scan's grid in a rectangle of it."""
        rows, columns = (self.matrices[axis][part].argmax(axis=1) for axis, part in zip((1, 2), fine, strict=True))
        return plane[np.ix_(rows, columns)]


def make_sampler(
    fine_mm: tuple[np.ndarray, np.ndarray, np.ndarray], spacing_mm: tuple[float, float, float], step_mm: float
) -> Sampler:
    """Lay a coarse grid of at most `step_mm` or the scan's own, coarser, step about a scan."""
    coarse = []
    for axis, spacing in zip(fine_mm, spacing_mm, strict=True):
        if spacing >= 0.8 * step_mm and len(axis) > 1:
            coarse.append(axis.astype(np.float64))
            continue
        count = int(np.ceil((axis[-1] - axis[0]) / step_mm)) + 3
        coarse.append(axis[0] - step_mm + step_mm * np.arange(count, dtype=np.float64))
    z, y, x = coarse
    matrices = [cubic_matrix(a, b.astype(np.float64)) for a, b in zip(coarse, fine_mm, strict=True)]
    return Sampler((z, y, x), fine_mm, (matrices[0], matrices[1], matrices[2]))
