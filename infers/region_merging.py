"""Regions that join one after another with a neighbour."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from infers.regions import BATCH_SHARE, Regions


class RegionMerging:
    """Which region each region is part of by now, and who borders on whom.

    Attributes:
        group: (regions + 1,) int64, the region that each one has become part of; at first itself.
        voxels: Size of each region with all that has joined it.
    """

    def __init__(self, regions: Regions, order: np.ndarray) -> None:
        """Begin with no region joined.

        Args:
            regions: All regions.
            order: Numbers of the regions whose neighbours will be asked for, in that order. Others may be asked
                for as well, each at the cost of a pass over the image.
        """
        self.group = np.arange(len(regions) + 1)
        self.voxels: list[int] = regions.voxels.tolist()
        self._regions = regions
        self._flat = regions.numbers.ravel()
        self._order = order
        self._place = {number: place for place, number in enumerate(self._order.tolist())}
        self._ends = np.cumsum(regions.voxels[self._order])
        self._ahead: dict[int, np.ndarray] = {}
        self._borders: dict[int, np.ndarray] = {}
        self._joined_borders: dict[int, list[np.ndarray]] = defaultdict(list)
        self._members: dict[int, list[int]] = defaultdict(list)

    def neighbours(self, region: int) -> tuple[np.ndarray, np.ndarray]:
        """The regions that share faces with a region, with all that has joined either.

        Args:
            region: One that has joined no other.

        Returns:
            Their numbers, ascending, and how many of their voxels lie against the region.
        """
        groups, counts = np.unique(self.group[self._flat[self._border(region)]], return_counts=True)
        others = groups != region
        return groups[others], counts[others]

    def join(self, region: int, into: int) -> None:
        """Make a region, with all that has joined it, part of another that has joined none."""
        self._joined_borders[into].append(self._border(region))
        del self._borders[region]
        members = [region, *self._members.pop(region, ())]
        self._members[into] += members
        self.group[members] = into
        self.voxels[into] += self.voxels[region]

    def _border(self, region: int) -> np.ndarray:
        """Flat indices of the voxels around a region and what has joined it; some may lie inside by now."""
        if region not in self._borders:
            self._borders[region] = self._own_border(region)
        joined = self._joined_borders.pop(region, None)
        if joined:
            self._borders[region] = np.unique(np.concatenate([self._borders[region], *joined]))
        return self._borders[region]

    def _own_border(self, region: int) -> np.ndarray:
        if region not in self._ahead:
            first = self._place.get(region)
            batch = [region]
            if first is not None:
                reach = self._ends[first] + self._flat.size // BATCH_SHARE
                batch += self._order[first + 1 : np.searchsorted(self._ends, reach, side="right")].tolist()
            self._ahead = dict(zip(batch, self._regions.outer_voxels(batch), strict=True))
        return self._ahead.pop(region).copy()  # a view would keep the whole batch
