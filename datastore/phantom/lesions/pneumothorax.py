"""Air in the pleural space above a lung that has collapsed towards its hilum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import smooth_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, fill, replace


@dataclass(frozen=True, kw_only=True)
class Pneumothorax(LesionPlan):
    """Air between the chest wall and the visceral pleura; in a lying patient it gathers at the top.

    Attributes:
        share: 0..1 of the lung's space that is air (or fluid).
        around: 0 the air lies at the top only, 1 all around the lung.
        fluid_share: 0..1 of that space below a flat level of fluid (hydropneumothorax).
        fluid_hu: Of the fluid, water to blood.
        tension_mm: How far the mediastinum is pushed away.
        adhesions: Number of places where the lung still hangs on the wall.
    """

    kind = "pneumothorax"
    stage = 5
    both = 0.05

    share: float
    around: float
    fluid_share: float
    fluid_hu: float
    tension_mm: float
    adhesions: int

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a pneumothorax; a third has fluid too."""
        fluid = random.random() < 0.3
        return (
            cls(
                sides=sides,
                severity=severity,
                share=0.02 + 0.83 * severity**1.4,
                around=float(random.uniform(0.6, 0.9) if fluid else random.uniform(0.0, 0.15) + 0.4 * severity**3),
                fluid_share=float(random.uniform(0.08, 0.35)) if fluid else 0.0,
                fluid_hu=float(random.uniform(0, 55)),
                tension_mm=float(30 * severity * random.random()) if severity > 0.4 and random.random() < 0.4 else 0.0,
                adhesions=int(random.integers(1, 4)) if random.random() < 0.25 else 0,
            ),
        )

    @property
    def pull_mm(self) -> float:
        """Air under tension pushes the mediastinum away."""
        return -self.tension_mm

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the denser lung, its pleura as a line, then the air over it."""
        gap = self.around + (1 - self.around) * region.relative_height**2
        hang = np.ones(region.in_lung.shape, np.float32)
        for place in region.places((region.depth_mm < 5.0) & (region.from_hilum_mm > 60.0), self.adhesions, random):
            squared = sum((axis - middle) ** 2 for axis, middle in zip(region.grid_mm, place, strict=True))
            hang *= 1 - np.exp(-squared / random.uniform(8, 16) ** 2)
        depth = region.free_depth_mm + 1.5 * smooth_noise(random, region.coarse_mm, 30.0)
        raw = (20.0 - depth / np.maximum(gap * hang, 0.02)).astype(np.float32)
        score = region.covering(raw, self.share) * gap * hang
        left = max(1.0 - self.share, 0.08)
        # The same tissue in less space, less some blood that flows elsewhere.
        dense_hu = min(20.0, (region.base_hu + 1000.0) / left**0.85 - 1000.0)
        share = float(np.clip((dense_hu - region.base_hu) / (SOFT_HU - region.base_hu), 0.0, 1.0))
        whole = np.where(region.in_lung, 50.0, 1.0).astype(np.float32)
        fill(region, whole, 1.0, share, SOFT_HU, grain=Lobules(random, region, 20.0), roughness=0.12)
        # The visceral pleura shows where there is air between it and the wall.
        line = np.minimum(score + 1.6, score + depth - 1.5)
        fill(region, line, 1.2, 0.55, SOFT_HU, airways_stay=False)
        masks = {self.kind: replace(region, score, 1.2, -1000.0)}
        if self.fluid_share > 0 and (score[region.in_lung] > 0).any():
            level = np.quantile(region.height_mm[region.in_lung & (score > 0)], self.fluid_share)
            fluid = np.minimum(score, level - region.height_mm).astype(np.float32)
            masks["effusion"] = replace(region, fluid, 1.2, self.fluid_hu)
            masks[self.kind] &= ~masks["effusion"]
        return masks
