"""A bruised chest: bleeding into air spaces and the pleural space, torn lung, broken ribs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.balls import ball
from datastore.phantom.lesions.effusion import Effusion, free_share
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, fill


@dataclass(frozen=True, kw_only=True)
class Trauma(LesionPlan):
    """Contusion: patches that ignore fissures and segments, next to where the blow fell; small air-filled tears.

    Attributes:
        share: 0..1 of the lung that is contused.
        tears: Number of pneumatoceles.
        fractures: Number of broken ribs.
    """

    kind = "trauma"
    both = 0.35

    share: float
    tears: int
    fractures: int

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a contusion and, mostly, a haemothorax of 35-70 HU."""
        own = cls(
            sides=sides,
            severity=severity,
            share=0.03 + 0.5 * severity,
            tears=int(random.poisson(2.5 * severity)),
            fractures=int(random.poisson(1 + 4 * severity)),
        )
        if random.random() > 0.7:
            return (own,)
        share = 0.4 * free_share(severity * random.uniform(0.5, 1.0))
        return own, Effusion.beside(random, own, share, (35, 70), (20, 50), (8, 20), (20, 70))

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint haze, denser patches in it and tears in these."""
        noise = fractal_noise(random, region.coarse_mm, 34.0)
        rim = region.depth_mm < 12.0
        blow = np.zeros(region.in_lung.shape, np.float32)
        for place in region.places(rim & (region.from_hilum_mm > 55), 2, random):
            squared = sum((axis - middle) ** 2 for axis, middle in zip(region.grid_mm, place, strict=True))
            blow = np.maximum(blow, np.exp(-squared / (2 * 45.0**2)))
        score = 10.0 * noise + 38.0 * blow - 0.5 * np.clip(region.depth_mm, 0, 40)
        score = region.covering(score.astype(np.float32), self.share)
        grain = Lobules(random, region, 12.0)
        mask = fill(region, score, 14.0, 0.45, SOFT_HU, grain=grain, roughness=0.12)
        dense = region.covering(score + 5 * fractal_noise(random, region.coarse_mm, 18.0), 0.35, score > 0)
        fill(region, np.minimum(dense, score), 8.0, 0.97, 50.0, grain=grain, roughness=0.03)
        for place in region.places((dense > 0) & (score > 0), self.tears, random):
            shape = ball(region, place, float(random.uniform(3, 14)), 0.06, random)
            if shape is None:
                continue
            box, edge = shape
            hole = np.clip(0.5 + edge / 0.8, 0.0, 1.0) * mask[box]
            wall = np.clip(1.5 - np.abs(edge) / 1.2, 0.0, 1.0) * mask[box]
            region.hu[box] += wall * np.maximum(45.0 - region.hu[box], 0.0)
            region.hu[box] += hole * (-985.0 - region.hu[box])
        return {self.kind: mask}


def break_ribs(
    hu: np.ndarray, bone: np.ndarray, region: LungRegion, contused: np.ndarray, count: int, random: np.random.Generator
) -> None:
    """Open gaps of blood in the ribs beside a contusion.

    Args:
        hu: (z, y, x) of the whole scene, changed.
        bone: (z, y, x) bool of the whole scene.
        region: The lung.
        contused: (z, y, x) bool mask of the region; ribs near it break first.
        count: Number of fractures.
        random: Source of places and gaps.
    """
    margin = [int(np.ceil(18.0 / mm)) for mm in region.spacing_mm]
    hurt = np.argwhere(contused)
    if not hurt.size:
        return
    for place in hurt[random.integers(len(hurt), size=4 * count)]:
        if count == 0:
            return
        middle = [int(index) + part.start for index, part in zip(place, region.box, strict=True)]
        z, y, x = (slice(max(0, index - reach), index + reach + 1) for index, reach in zip(middle, margin, strict=True))
        found = np.argwhere(bone[z, y, x])
        if not found.size:
            continue
        centre = found[int(random.integers(len(found)))]
        offsets = [
            (np.arange(size) - index) * mm
            for size, index, mm in zip(bone[z, y, x].shape, centre, region.spacing_mm, strict=True)
        ]
        dz, dy, dx = np.ix_(*offsets)
        normal = random.standard_normal(3) * (0.4, 1.0, 1.0)
        normal /= np.linalg.norm(normal)
        gap = np.abs(dz * normal[0] + dy * normal[1] + dx * normal[2]) < random.uniform(0.6, 2.0)
        gap = gap & (dz**2 + dy**2 + dx**2 < 12.0**2) & bone[z, y, x]
        hu[z, y, x][gap] = 45.0
        count -= 1
