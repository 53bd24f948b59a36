"""Water in the lung of a failing heart: haze from the hila, thick septa, effusions on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.effusion import Effusion
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, filling, ramp


@dataclass(frozen=True, kw_only=True)
class Oedema(LesionPlan):
    """Hydrostatic oedema: haze about the hila and where gravity leads it, lines of 10-20 mm lobules at the rim.

    Attributes:
        share: 0..1 of the lung with haze.
        haze_hu: Of the haze where it is full.
        septa: 0..1 how thick the lines are.
        gravity: How strongly the haze follows gravity rather than the hilum.
    """

    kind = "oedema"
    both = 0.95

    share: float
    haze_hu: float
    septa: float
    gravity: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw an oedema and, mostly, the effusion that comes with it."""
        own = cls(
            sides=sides,
            severity=severity,
            share=0.12 + 0.7 * severity,
            haze_hu=float(np.clip(-680 + 420 * severity + random.uniform(-50, 50), -700, -200)),
            septa=float(random.uniform(0.2, 1.0)),
            gravity=float(random.uniform(0.1, 0.9)),
        )
        if random.random() > 0.8:
            return (own,)
        share = float(0.015 + 0.25 * severity * random.random())
        return own, Effusion.beside(random, own, share, (0, 14), (30, 60), (10, 22), (30, 80))

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Haze and septal lines in one pass."""
        noise = fractal_noise(random, region.coarse_mm, 40.0)
        score = (
            12.0 * noise
            - (1 - self.gravity) * region.from_hilum_mm
            + 0.9 * np.clip(region.depth_mm, 0, 18)
            - self.gravity * 90.0 * region.relative_height
        )
        score = region.covering(score.astype(np.float32), self.share)
        share = filling(region, self.haze_hu)
        cells = Lobules(random, region, float(random.uniform(13, 20)))
        spread = (10.0 - region.depth_mm + 12.0 * noise + 15.0 * (1 - region.cranial)).astype(np.float32)
        mask = region.empty()
        for index, where, _ in region.sweep(np.maximum(score, spread - 20.0), -18.0):
            at = cells.at(index, where)
            values = region.plane(score, index).reshape(-1)[where]
            rim = ramp(region.plane(spread, index).reshape(-1)[where], 25.0)
            # Lines come and go from lobule to lobule.
            line = 0.6 * self.septa * rim * np.clip(1.2 - cells.wall_mm(at) / 0.75, 0.0, 1.0) * cells.code(at) ** 0.7
            weight = ramp(values, 30.0)
            # Acini fill unevenly: some lobules stay lighter.
            amount = np.clip(weight * share * (0.92 + 0.16 * cells.code(at)) + line, 0.0, 1.0)
            plane = region.values(index)
            before = plane[where]
            amount *= np.clip((before - region.base_hu + 90.0) / 50.0, 0.0, 1.0)
            plane[where] = before + amount * np.maximum(SOFT_HU - before, 0.0)
            mask[index].reshape(-1)[where] = (weight >= 0.5) | (line >= 0.3)
        return {self.kind: mask}
