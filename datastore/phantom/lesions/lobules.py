"""Cells that tile the lung: secondary lobules with their septa, cysts of honeycombing, meshes of reticulation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.ndimage as ndimage

from datastore.phantom.lesions.region import LungRegion

CELLS = 6
VOXELS = 20
"""Voxels along a cell in the periodic block, which is sampled at nearest neighbours."""


@dataclass(frozen=True, eq=False)
class CellBlock:
    """A periodic cube of Voronoi cells of jittered seeds; lengths in cell sizes.

    Attributes:
        wall: (n * n * n) float32 distance to the nearest wall between two cells, about.
        core: Distance to the cell's seed.
        code: A number 0..1 of each cell.
        grain: Periodic fine noise of unit deviation.
    """

    wall: np.ndarray
    core: np.ndarray
    code: np.ndarray
    grain: np.ndarray


@lru_cache(maxsize=1)
def cell_block() -> CellBlock:
    """The block, which is the same in every run: variety comes from turning, shifting and bending it."""
    random = np.random.default_rng(20080301)
    size = CELLS * VOXELS
    seeds = np.indices((CELLS,) * 3).transpose(1, 2, 3, 0) + random.uniform(0.1, 0.9, (CELLS, CELLS, CELLS, 3))
    codes = random.uniform(0, 1, (CELLS,) * 3).astype(np.float32)
    place = ((np.arange(size) + 0.5) / VOXELS).astype(np.float32)
    own = np.arange(size) // VOXELS
    first = np.full((size,) * 3, 9.0, np.float32)
    second = first.copy()
    code = np.zeros_like(first)
    for offset in np.ndindex(3, 3, 3):
        index = [own + step - 1 for step in offset]
        wrapped = np.ix_(*(part % CELLS for part in index))
        away = np.zeros_like(first)
        for axis in range(3):
            turn = np.floor_divide(index[axis], CELLS) * CELLS
            shape = [1, 1, 1]
            shape[axis] = size
            seed = seeds[..., axis][wrapped].astype(np.float32) + turn.reshape(shape).astype(np.float32)
            away += (place.reshape(shape) - seed) ** 2
        np.sqrt(away, out=away)
        closer = away < first
        second = np.where(closer, first, np.minimum(second, away))
        code = np.where(closer, codes[wrapped], code)
        first = np.minimum(first, away)
    grain = ndimage.gaussian_filter(random.standard_normal((size,) * 3, dtype=np.float32), 1.2, mode="wrap")
    return CellBlock((second - first).ravel() / 2, first.ravel(), code.ravel(), grain.ravel() / grain.std())


class Lobules:
    """The block of cells laid into a lung, turned and shifted at random."""

    def __init__(self, random: np.random.Generator, region: LungRegion, size_mm: float) -> None:
        """Lay cells of a size into a lung.

        Args:
            random: Source of turn and shift.
            region: The lung.
            size_mm: Mean diameter of a cell.
        """
        self.size_mm = size_mm
        turn, _ = np.linalg.qr(random.standard_normal((3, 3)))
        shift = random.uniform(0, CELLS * VOXELS, 3)
        scale = VOXELS / size_mm
        z, y, x = region.axes_mm
        self._columns = x.size
        self._parts = [
            [(turn[axis, k] * scale * place).astype(np.float32) for k, place in enumerate((z, y, x))]
            for axis in range(3)
        ]
        self._shift = [float(value) + 100 * CELLS * VOXELS for value in shift]

    def at(self, index: int, where: np.ndarray) -> np.ndarray:
        """Places in the block of some voxels of a plane, to index the block's arrays by.

        Args:
            index: The plane.
            where: Flat (y * x) indices in it.
        """
        rows, columns = np.divmod(where, self._columns)
        size = CELLS * VOXELS
        flat = np.zeros(where.size, np.int64)
        for (z, y, x), shift in zip(self._parts, self._shift, strict=True):
            place = (y[rows] + x[columns] + (z[index] + shift)).astype(np.int32) % size
            flat = flat * size + place
        return flat

    def wall_mm(self, at: np.ndarray) -> np.ndarray:
        """Distance to the nearest septum."""
        return cell_block().wall[at] * self.size_mm

    def core_mm(self, at: np.ndarray) -> np.ndarray:
        """Distance to the middle of the cell."""
        return cell_block().core[at] * self.size_mm

    def code(self, at: np.ndarray) -> np.ndarray:
        """A number 0..1 that tells cells apart."""
        return cell_block().code[at]

    def grain(self, at: np.ndarray) -> np.ndarray:
        """Fine noise of unit deviation, its grains a twentieth of a cell."""
        return cell_block().grain[at]
