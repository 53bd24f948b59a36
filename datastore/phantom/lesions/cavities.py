"""Holes with a wall in a mass or a consolidation: abscess, tuberculosis, a decaying tumour, a fungus ball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.balls import ball, paint_ball
from datastore.phantom.lesions.noise_fields import fractal_noise, smooth_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, fill


@dataclass(frozen=True, kw_only=True)
class Cavity(LesionPlan):
    """Gas with a wall of 2-15 mm, often with a level of fluid (Hansell et al. 2008).

    Attributes:
        count: Number in each lung.
        diameter_mm: Outer diameter of the largest, 15-100.
        wall_mm: Thickness of the wall.
        wall_hu: Of the wall.
        fluid_share: 0..1 of the height of the hole below the fluid's level.
        fluid_hu: Of the fluid.
        fungus: Whether a ball of fungus lies in it instead of fluid.
        halo_mm: Consolidated lung around it.
    """

    kind = "cavity"
    stage = 3
    both = 0.15

    count: int
    diameter_mm: float
    wall_mm: float
    wall_hu: float
    fluid_share: float
    fluid_hu: float
    fungus: bool
    halo_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw cavities; worse is larger."""
        return (
            cls(
                sides=sides,
                severity=severity,
                count=1 + int(random.poisson(0.7)),
                diameter_mm=float((14 + 75 * severity) * random.uniform(0.8, 1.2)),
                wall_mm=float(random.uniform(2, 6) + 9 * severity * random.random()),
                wall_hu=float(random.uniform(25, 90)),
                fluid_share=float(random.uniform(0.15, 0.6)) if random.random() < 0.6 else 0.0,
                fluid_hu=float(random.uniform(5, 35)),
                fungus=bool(random.random() < 0.15),
                halo_mm=float(random.uniform(5, 30)) if random.random() < 0.5 else 0.0,
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the halo, the wall, then gas and fluid in it."""
        mask = region.empty()
        where = (region.cranial > 0.35) | (region.relative_height < 0.4)
        for number, centre in enumerate(region.places(where & (region.depth_mm > 4), self.count, random)):
            radius = 0.5 * self.diameter_mm * (1.0 if number == 0 else random.uniform(0.25, 0.8))
            wall = min(self.wall_mm, 0.6 * radius)
            if self.halo_mm > 0:
                squared = sum((axis - middle) ** 2 for axis, middle in zip(region.grid_mm, centre, strict=True))
                ragged = 0.6 * self.halo_mm * fractal_noise(random, region.coarse_mm, 22.0)
                score = (radius + 0.4 * self.halo_mm + ragged - np.sqrt(squared)).astype(np.float32)
                fill(region, score, 0.8 * self.halo_mm, 0.7, SOFT_HU)
            shape = ball(region, centre, radius, 0.14, random)
            if shape is None:
                continue
            box, edge = shape
            inside = region.inside[box]
            weight = np.clip(0.5 + edge / 0.8, 0.0, 1.0) * inside
            spans = tuple(axis[span] for axis, span in zip(region.axes_mm, box, strict=True))
            thick = wall * np.clip(1.0 + 0.35 * smooth_noise(random, spans, max(0.7 * radius, 4.0)), 0.3, 2.0)
            hole = np.clip(0.5 + (edge - thick) / 0.8, 0.0, 1.0) * inside
            up = -sum(
                part * (axis[span] - middle).reshape([-1 if k == d else 1 for k in range(3)])
                for d, (part, axis, span, middle) in enumerate(
                    zip(region.down, region.axes_mm, box, centre, strict=True)
                )
            )
            inner = radius - wall
            wet = np.clip(0.5 + (-inner + 2 * inner * self.fluid_share - up) / 0.8, 0.0, 1.0)
            content = -1000.0 + (wet * (self.fluid_hu + 1000.0) if self.fluid_share > 0 and not self.fungus else 0.0)
            values = region.hu[box]
            values += weight * (self.wall_hu - values)
            values += hole * (content - values)
            mask[box] |= weight >= 0.5
            if self.fungus and inner > 5:
                lowest = centre + np.array(region.down) * inner * 0.35
                paint_ball(region, lowest, 0.6 * inner, 50.0, random, lobulation=0.05, mask=mask)
        return {self.kind: mask}
