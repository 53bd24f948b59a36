"""Errors that run along rays: beam hardening, cupping, windmills, and how rays starve of photons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.noise import SECTORS
from datastore.phantom.projection import WATER_PER_MM, CoarseGrid, Projector, projector

DENSE_HU = 150.0
METAL_HU = 2500.0
METAL_EXCESS_HU = 8000.0  # steel and titanium lie far above the scale of Hounsfield units
MOST_ATTENUATION = 9.0


@dataclass(frozen=True)
class Streaks:
    """Strengths of the errors along rays; 0 is none.

    Attributes:
        hardening: Share of its attenuation in dense matter by which a ray is misjudged for each unit of its whole
            attenuation: dark bands between bones, or beside dense contrast medium.
        cupping: Share of the squared attenuation that is missed: darker middle, dark bands through both shoulders.
        windmill: Share of the change along z of dense matter that a helical scan turns into rotating vanes.
        windmill_turn: Turns of the vanes per slice.
        metal_hu: Standard deviation of the streaks beside a piece of metal of 1 cm2.
        metal_reach_mm: Distance over which they fade to 1 / e.
    """

    hardening: float
    cupping: float
    windmill: float
    windmill_turn: float
    metal_hu: float
    metal_reach_mm: float


def draw_streaks(random: np.random.Generator) -> Streaks:
    """Draw the errors along rays: faint in most scans, since scanners correct for them."""
    return Streaks(
        hardening=random.uniform(0.0, 0.05) if random.random() < 0.8 else random.uniform(0.05, 0.15),
        cupping=random.uniform(-0.0006, 0.002),
        windmill=random.uniform(0.01, 0.06) if random.random() < 0.3 else 0.0,
        windmill_turn=random.uniform(0.05, 0.5),
        metal_hu=random.uniform(80.0, 400.0),
        metal_reach_mm=random.uniform(25.0, 90.0),
    )


class RayErrors:
    """Coarse maps of ray errors and of the noise of each ray direction, for some slices of a scene.

    Args:
        scene_hu: (z, y, x) Hounsfield units.
        bone: (z, y, x) bool, counted as dense whatever its Hounsfield units; None to go by Hounsfield units alone.
        spacing_mm: (z, y, x).
        key_slices: Increasing slice numbers to look at.
        streaks: Strengths.
        starvation: As in `Noise`.
        modulation: As in `Noise`.
    """

    def __init__(
        self,
        scene_hu: np.ndarray,
        bone: np.ndarray | None,
        spacing_mm: tuple[float, float, float],
        key_slices: np.ndarray,
        streaks: Streaks,
        starvation: float,
        modulation: float,
        size: int = 96,
    ) -> None:
        _, height, width = scene_hu.shape
        self.grid = CoarseGrid((height, width), spacing_mm[1:], size)
        self._key_slices = key_slices
        water = np.empty((len(key_slices), size, size), np.float32)
        dense = np.empty_like(water)
        for row, index in enumerate(key_slices):
            hu = scene_hu[index]
            # relative attenuation; what lies outside the grid counts as air
            water[row] = self.grid.coarsen(np.clip(hu, -1000, 3000) / np.float32(1000) + np.float32(1))
            excess = np.clip(hu - np.float32(DENSE_HU), 0, 3000)
            excess[hu > METAL_HU] = METAL_EXCESS_HU
            if bone is not None:
                np.copyto(excess, np.clip(hu, 0, 3000), where=bone[index])
            dense[row] = self.grid.coarsen(excess / np.float32(1000))
        rays = projector(size)
        per_pixel = np.float32(WATER_PER_MM * self.grid.pixel_mm)
        total = rays.project(water) * per_pixel
        in_dense = rays.project(dense) * per_pixel
        self.std = _direction_std(rays, water, total, starvation, modulation)
        self.error_hu = _error_hu(rays, water, total, in_dense, streaks, self.grid.pixel_mm)

    def nearest(self, index: float) -> int:
        """Row of the key slice nearest to a slice."""
        return int(np.abs(self._key_slices - index).argmin())

    def between(self, index: float) -> tuple[int, int, float]:
        """Rows of the key slices around a slice and the share of the second."""
        above = int(np.clip(np.searchsorted(self._key_slices, index), 1, max(len(self._key_slices) - 1, 1)))
        if len(self._key_slices) == 1:
            return 0, 0, 0.0
        low, high = self._key_slices[above - 1], self._key_slices[above]
        return above - 1, above, float(np.clip((index - low) / (high - low), 0, 1))


def _direction_std(
    rays: Projector, water: np.ndarray, total: np.ndarray, starvation: float, modulation: float
) -> np.ndarray:
    """(n, SECTORS, size, size) relative standard deviation; 1 is the mean square over the body."""
    variance = np.exp(starvation * np.minimum(total, MOST_ATTENUATION))
    centre = np.arange(rays.angles)[:, None] * SECTORS / rays.angles
    maps = np.empty((len(total), SECTORS, rays.size, rays.size), np.float32)
    for sector in range(SECTORS):
        away = np.abs(np.mod(centre - sector + SECTORS / 2, SECTORS) - SECTORS / 2)
        share = np.clip(1 - away, 0, None).astype(np.float32)
        maps[:, sector] = rays.back_project(variance * share) * SECTORS
    body = water > 0.5
    inside = np.maximum(body.sum((1, 2)), 1)
    by_slice = np.where(body.any((1, 2)), (maps.mean(1) * body).sum((1, 2)) / inside, 0)
    if not by_slice.any():
        return np.ones_like(maps)
    by_slice[by_slice == 0] = by_slice[by_slice > 0].min()
    overall = (by_slice ** (1 - modulation)).mean() * by_slice**modulation
    return np.sqrt(maps / overall[:, None, None, None].astype(np.float32))


def _error_hu(
    rays: Projector, water: np.ndarray, total: np.ndarray, dense: np.ndarray, streaks: Streaks, pixel_mm: float
) -> np.ndarray | None:
    """(n, size, size) Hounsfield units to add, with no change to the mean of the body; None for none."""
    if not (streaks.hardening or streaks.cupping or streaks.windmill):
        return None
    # second order of Joseph and Spital's expansion for water and bone (J Comput Assist Tomogr 1978;2:100)
    # about the attenuation for which dense matter is calibrated, the mean of the rays through it
    usual = (dense * total).sum((1, 2)) / np.maximum(dense.sum((1, 2)), 1e-6)
    error = -streaks.hardening * dense * (total - usual[:, None, None]) - streaks.cupping * total**2
    if streaks.windmill and len(dense) > 2:
        turn = np.arange(rays.angles)[None, :, None] * (2 * np.pi / rays.angles)
        phase = np.arange(len(dense))[:, None, None] * (2 * np.pi * streaks.windmill_turn)
        error += (10 * streaks.windmill * np.gradient(dense, axis=0) * np.sin(2 * turn + phase)).astype(np.float32)
    error_hu = rays.reconstruct(error) * np.float32(1000 / (WATER_PER_MM * pixel_mm))
    flesh = (water > 0.85) & (water < 1.15)
    shift = (error_hu * flesh).sum((1, 2)) / np.maximum(flesh.sum((1, 2)), 1)
    recalibrated: np.ndarray = error_hu - shift[:, None, None] * np.clip(water, 0, 1)
    return recalibrated.astype(np.float32)
