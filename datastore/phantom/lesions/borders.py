"""Voxels on the pleura that lie outside the lung's mask and yet hold a share of lung."""

from __future__ import annotations

import numpy as np

SOLID_HU = -120.0
"""Darker voxels beside a lung are taken to hold some of it."""
TISSUE_HU, AIR_HU = 0.0, -1000.0


def carry_over(hu: np.ndarray, before: np.ndarray, lung: np.ndarray, apart: np.ndarray, base_hu: float) -> None:
    """Let border voxels follow the lung beside them, or a dense lung would keep a dark outline.

    A border voxel's share of lung is read from how dark it is; its value moves by that share of what its neighbours
    in the lung have moved by.

    Args:
        hu: (z, y, x) float32 new Hounsfield units, changed outside `lung`.
        before: (z, y, x) the old ones.
        lung: (z, y, x) bool: the lung before the diseases.
        apart: (z, y, x) bool: voxels that stay, e.g. the other lung and airways.
        base_hu: Healthy parenchyma.
    """
    planes = np.flatnonzero([(after != old).any() for after, old in zip(hu, before, strict=True)])
    if not planes.size:
        return
    low, high = max(0, planes[0] - 1), min(len(hu), planes[-1] + 2)
    hu, before, lung, apart = (array[low:high] for array in (hu, before, lung, apart))
    near = lung.copy()
    for axis in range(3):
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        wider = near.copy()
        wider[tuple(ahead)] |= near[tuple(behind)]
        wider[tuple(behind)] |= near[tuple(ahead)]
        near = wider
    place = np.nonzero(near & ~lung & ~apart & (before < SOLID_HU))
    moved = np.zeros(place[0].size, np.float32)
    count = np.zeros(place[0].size, np.float32)
    for offset in np.ndindex(3, 3, 3):
        beside = tuple(
            np.clip(index + step - 1, 0, size - 1) for index, step, size in zip(place, offset, lung.shape, strict=True)
        )
        part = lung[beside]
        count += part
        moved += np.where(part, hu[beside] - before[beside], 0.0)
    share = np.clip((before[place] - TISSUE_HU) / (base_hu - TISSUE_HU), 0.0, 1.0)
    hu[place] = np.maximum(hu[place] + share * moved / np.maximum(count, 1.0), AIR_HU)
