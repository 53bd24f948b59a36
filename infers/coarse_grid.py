"""The coarser, roughly isotropic grid on which slow decisions about a CT are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndimage


@dataclass(frozen=True)
class CoarseGrid:
    """Blocks of whole voxels of a finer grid.

    Attributes:
        shape: (z, y, x) voxels of the fine grid.
        factors: (z, y, x) fine voxels in one block.
        spacing_mm: (z, y, x) size of one block in mm.
    """

    shape: tuple[int, int, int]
    factors: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def near(cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], target_mm: float) -> CoarseGrid:
        """The grid of whole blocks nearest to `target_mm` along each axis; axes already coarser stay.

        Args:
            shape: (z, y, x) voxels of the fine grid.
            spacing_mm: (z, y, x) voxel size of the fine grid in mm.
            target_mm: Wanted block size in mm.

        >>> CoarseGrid.near((100, 512, 512), (5.0, 0.7, 0.7), 2.0).factors
        (1, 3, 3)
        """
        z, y, x = (min(size, max(1, round(target_mm / step))) for size, step in zip(shape, spacing_mm, strict=True))
        return cls(shape, (z, y, x), (spacing_mm[0] * z, spacing_mm[1] * y, spacing_mm[2] * x))

    def block_mean(self, hu: np.ndarray, hu_low: int, hu_high: int) -> np.ndarray:
        """Mean of each block after clipping; border blocks repeat the last voxel.

        Args:
            hu: (z, y, x) int16 Hounsfield units on the fine grid.
            hu_low: Lowest value kept.
            hu_high: Highest value kept.

        Returns:
            (z, y, x) float32 Hounsfield units on the coarse grid.
        """
        deep, high, wide = self.factors
        counts = [-(-size // factor) for size, factor in zip(self.shape, self.factors, strict=True)]
        mean = np.empty(counts, np.float32)
        after = [count * factor - size for count, factor, size in zip(counts, self.factors, self.shape, strict=True)]
        for index in range(counts[0]):
            slab = np.clip(hu[index * deep : (index + 1) * deep], hu_low, hu_high).astype(np.float32)
            flat = np.pad(slab.mean(axis=0), [(0, after[1]), (0, after[2])], mode="edge")
            mean[index] = flat.reshape(counts[1], high, counts[2], wide).mean(axis=(1, 3))
        return mean

    def refine(self, coarse: np.ndarray, first: int, last: int) -> np.ndarray:
        """Coarse values carried to fine slices `first` to `last` (exclusive) by linear interpolation.

        Args:
            coarse: (z, y, x) values on the coarse grid, e.g. a mask as 0 and 1.
            first: First fine slice wanted.
            last: Fine slice after the last one wanted.

        Returns:
            (last - first, y, x) float32 on the fine grid.
        """
        ranges = (range(first, last), range(self.shape[1]), range(self.shape[2]))
        places = [
            np.clip((np.array(indices) + 0.5) / factor - 0.5, 0, count - 1)
            for indices, factor, count in zip(ranges, self.factors, coarse.shape, strict=True)
        ]
        low = int(np.floor(places[0][0])) if len(places[0]) else 0
        high = int(np.ceil(places[0][-1])) + 1 if len(places[0]) else 1
        values = coarse[low:high].astype(np.float32)
        places[0] = places[0] - low
        for axis, place in enumerate(places):
            floor = np.floor(place).astype(int)
            weight = (place - floor).astype(np.float32)
            if not weight.any():
                values = np.take(values, floor, axis=axis)
                continue
            shape = [1, 1, 1]
            shape[axis] = -1
            above = np.minimum(floor + 1, values.shape[axis] - 1)
            weight = weight.reshape(shape)
            below = np.take(values, floor, axis=axis)
            values = below + weight * (np.take(values, above, axis=axis) - below)
        return values


def crop_of(mask: np.ndarray, margin: int) -> tuple[slice, slice, slice]:
    """Bounding box of a (z, y, x) mask, widened by `margin` voxels within the array."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box or box[0] is None:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    z, y, x = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size in zip(box[0], mask.shape, strict=True)
    )
    return z, y, x
