"""Viral pneumonia of the COVID-19 kind: peripheral patches on both sides, crazy paving, bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, filling, ramp


@dataclass(frozen=True, kw_only=True)
class CovidPneumonia(LesionPlan):
    """Rounded subpleural ground glass, lines of thickened septa in it (crazy paving), later consolidation.

    Attributes:
        share: 0..1 of the lung.
        haze_hu: Of the ground glass.
        paving: 0..1 how dense the lines in it are.
        dense_share: 0..1 of the patches that are consolidated.
        patch_mm: Size of the patches.
    """

    kind = "covid"
    both = 0.92

    share: float
    haze_hu: float
    paving: float
    dense_share: float
    patch_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a pneumonia; worse is wider and more consolidated."""
        return (
            cls(
                sides=sides,
                severity=severity,
                share=0.03 + 0.75 * severity,
                haze_hu=float(random.uniform(-650, -450)),
                paving=float(random.uniform(0.0, 0.55)),
                dense_share=float(random.uniform(0.0, 0.15) + 0.4 * severity * random.random()),
                patch_mm=float(random.uniform(36, 62)),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Haze, lines and solid parts in one pass."""
        noise = fractal_noise(random, region.coarse_mm, self.patch_mm)
        score = 16.0 * noise - 1.0 * region.depth_mm - 14.0 * region.cranial - 14.0 * region.relative_height
        score = region.covering(score.astype(np.float32), self.share)
        solid = 10.0 * fractal_noise(random, region.coarse_mm, 0.6 * self.patch_mm) - 0.7 * region.depth_mm
        solid = region.covering(solid.astype(np.float32), self.dense_share, score > 0)
        septa, fine = Lobules(random, region, 15.0), Lobules(random, region, 6.0)
        share = filling(region, self.haze_hu)
        mask = region.empty()
        for index, where, values in region.sweep(score, -6.0):
            weight = ramp(values, 12.0)
            at, near = septa.at(index, where), fine.at(index, where)
            # Not every septum is thick: whole cells go without.
            line = np.clip(1.1 - septa.wall_mm(at), 0, 1) * (0.3 + septa.code(at))
            line += 0.6 * np.clip(0.9 - fine.wall_mm(near), 0, 1)
            dense = ramp(region.plane(solid, index).reshape(-1)[where], 9.0)
            amount = weight * np.maximum(share * (1 + 0.07 * septa.grain(at)) + self.paving * 0.4 * line, dense)
            plane = region.values(index)
            before = plane[where]
            amount = np.clip(amount, 0, 1) * np.clip((before - region.base_hu + 90.0) / 50.0, 0.0, 1.0)
            plane[where] = before + amount * np.maximum(SOFT_HU - before, 0.0)
            mask[index].reshape(-1)[where] = weight >= 0.5
        return {self.kind: mask}
