"""Connected regions of a label image: their sizes, their labels and the voxels around them.

Nothing here makes a volume wider than the region numbers themselves, and nothing loops over regions and voxels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import fastremap
import numpy as np

BATCH_SHARE = 16  # a batch of regions is a sixteenth of the image
Box = tuple[slice, slice, slice]
Connectivity = Literal[6, 26]


@dataclass(frozen=True, eq=False)
class Regions:
    """Connected voxels of one label, numbered from 1 in the order of their first voxels.

    Attributes:
        numbers: (z, y, x) uint16, uint32 or uint64 region of each voxel; 0 is background.
        voxels: (regions + 1,) int64 size of each region; 0 for the background.
        labels: (regions + 1,) uint8 label of each region.
        first: (regions + 1,) int64 flat index of each region's first voxel.
    """

    numbers: np.ndarray
    voxels: np.ndarray
    labels: np.ndarray
    first: np.ndarray

    @classmethod
    def counted(cls, numbers: np.ndarray, labels: np.ndarray) -> Regions:
        """Regions by the number of each voxel.

        Args:
            numbers: (z, y, x) unsigned, C order; region of each voxel.
            labels: (z, y, x) uint8, one label in each region; 0 is background.
        """
        found, starts, counts = fastremap.unique(numbers, return_index=True, return_counts=True)
        voxels = np.zeros(int(found[-1]) + 1, np.int64)
        first = np.zeros(len(voxels), np.int64)
        values = np.zeros(len(voxels), np.uint8)
        voxels[found], first[found], values[found] = counts, starts, labels.ravel()[starts]
        voxels[0] = 0
        return cls(numbers, voxels, values, first)

    def __len__(self) -> int:
        return len(self.voxels) - 1

    def mapped(self, table: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """A value for each voxel by its region.

        Args:
            table: (regions + 1,) uint8 value of each region.
            out: (z, y, x) uint8 to write into; a new array by default.

        Returns:
            (z, y, x) uint8.
        """
        image = np.empty(self.numbers.shape, np.uint8) if out is None else out
        for plane, values in zip(image, self._looked_up(table, range(len(image))), strict=True):
            plane[...] = values
        return image

    def outer_voxels(self, wanted: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """For each wanted region, the voxels of other regions that share a face with it.

        Args:
            wanted: Numbers of different regions.

        Returns:
            For each in turn, (voxels,) int64 indices into the flat image, ascending.
        """
        owners, voxels = self._outer(np.asarray(wanted, np.int64), connectivity=6)
        return np.split(voxels, np.searchsorted(owners, np.arange(1, len(wanted)))) if len(wanted) else []

    def contacts(self, wanted: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, np.ndarray]:
        """Which regions touch which.

        Args:
            wanted: (wanted,) numbers of different regions.
            connectivity: 6 for common faces only, 26 for edges and corners as well.

        Returns:
            Two int64 arrays: a wanted region and a region that touches it, each pair once.
        """
        pairs = [np.empty(0, np.int64)]
        for batch in self.batches(wanted):
            owners, voxels = self._outer(batch, connectivity)
            pairs.append(np.unique(batch[owners] * len(self.voxels) + self.numbers.ravel()[voxels]))
        first, second = np.divmod(np.concatenate(pairs), len(self.voxels))
        return first, second

    def batches(self, wanted: np.ndarray) -> list[np.ndarray]:
        """Regions in turn, as many at a time as make up a small part of the image: this bounds the memory."""
        batch = np.cumsum(self.voxels[wanted]) // max(1, self.numbers.size // BATCH_SHARE)
        return np.split(wanted, np.flatnonzero(np.diff(batch)) + 1) if len(wanted) else []

    def columns(self, group: np.ndarray, groups: int) -> np.ndarray:
        """How many voxels of each group of regions lie at each x.

        Args:
            group: (regions + 1,) the group of each region, from 0.
            groups: Number of the last group.

        Returns:
            (groups + 1, x) int64.
        """
        width = self.numbers.shape[2]
        counts = np.zeros((groups + 1) * width, np.int64)
        for plane in self._looked_up(group, range(len(self.numbers))):
            bins = plane.astype(np.int64) * width + np.arange(width)
            counts += np.bincount(bins.ravel(), minlength=counts.size)
        return counts.reshape(groups + 1, width)

    def _outer(self, wanted: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, np.ndarray]:
        """Places in `wanted`, ascending, and flat indices of the voxels of other regions that touch that region."""
        rank = np.zeros(len(self.voxels), np.int64)
        rank[wanted] = np.arange(1, len(wanted) + 1)
        flat = self.numbers.ravel()
        inside = self._voxels_of(rank > 0)
        number = flat[inside]
        owner = (rank[number] - 1) * flat.size
        depth, height, width = self.numbers.shape
        z, y, x = inside // (height * width), inside // width % height, inside % width
        found = []
        for dz, dy, dx in itertools.product((-1, 0, 1), repeat=3):
            if abs(dz) + abs(dy) + abs(dx) not in ((1,) if connectivity == 6 else (1, 2, 3)):
                continue
            within = _fits(z, dz, depth) & _fits(y, dy, height) & _fits(x, dx, width)
            beside = inside[within] + (dz * height + dy) * width + dx
            other = flat[beside]
            outside = (other != 0) & (other != number[within])
            found.append(owner[within][outside] + beside[outside])
        keys = np.unique(np.concatenate(found))  # a voxel may touch a region several times
        owners, voxels = np.divmod(keys, flat.size)
        return owners, voxels

    def _voxels_of(self, wanted: np.ndarray) -> np.ndarray:
        """Flat indices of all voxels of the wanted regions, ascending."""
        depth, area = len(self.numbers), self.numbers[0].size
        lowest = self.first[wanted] // area
        highest = np.minimum(lowest + self.voxels[wanted], depth)  # a region spans no more slices than it has voxels
        changes = np.bincount(lowest, minlength=depth + 1) - np.bincount(highest, minlength=depth + 1)
        planes = np.flatnonzero(np.cumsum(changes))
        found = [
            np.flatnonzero(values > 0) + plane * area
            for plane, values in zip(planes, self._looked_up(wanted, planes), strict=True)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _looked_up(self, table: np.ndarray, planes: Iterable[int]) -> Iterator[np.ndarray]:
        """`table[numbers]` slice by slice: several times faster than numpy, and without indices of 8 bytes."""
        same_type = table.astype(self.numbers.dtype)
        for plane in planes:
            values = fastremap.remap_from_array(self.numbers[plane].ravel(), same_type, in_place=False)
            yield values.reshape(self.numbers.shape[1:])


def find_regions(labels: np.ndarray, connectivity: Connectivity) -> Regions:
    """The connected regions of each label.

    Args:
        labels: (z, y, x) uint8, at least one voxel; 0 is background.
        connectivity: 6 or 26 neighbours.
    """
    return Regions.counted(region_numbers(labels, connectivity), labels)


def region_numbers(labels: np.ndarray, connectivity: Connectivity) -> np.ndarray:
    """The number of each voxel's region: (z, y, x) uint16, uint32 or uint64, in the order of first voxels."""
    in_order = np.ascontiguousarray(labels)  # otherwise they may be numbered along another axis
    # Never as a bool image: for those, cc3d 4.1 reserves too few numbers at 26 neighbours.
    return cc3d.connected_components(in_order, connectivity=connectivity)


def _fits(places: np.ndarray, step: int, size: int) -> np.ndarray:
    """Whether a step from each place along an axis stays in the image."""
    return (places < size - 1) if step > 0 else (places + step >= 0)


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box around everything in a (z, y, x) mask that is not 0; empty where there is nothing."""
    rows = mask.any(axis=2)
    z, y = _reach(rows.any(axis=1)), _reach(rows.any(axis=0))
    columns = np.zeros(mask.shape[2], bool)
    for plane in mask[z, y]:
        columns |= plane.any(axis=0)
    return z, y, _reach(columns)


def _reach(line: np.ndarray) -> slice:
    """From the first to the last True of a bool line."""
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)
