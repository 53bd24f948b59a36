"""Lung whose walls are destroyed: holes in lobules, bullae under the pleura, or all of it dark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import paint_tube
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise, smooth_noise
from datastore.phantom.lesions.plan import LesionPlan, choose
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import ramp


@dataclass(frozen=True, kw_only=True)
class Emphysema(LesionPlan):
    """Centrilobular (holes without walls in upper lobes), paraseptal (a row of bullae) or panlobular (lower lobes).

    Forms as in Hansell et al., Fleischner Society glossary, Radiology 2008; below -950 HU lung counts as
    emphysema (Gevenois et al., AJRCCM 1996).

    Attributes:
        form: "centrilobular", "paraseptal" or "panlobular".
        share: 0..1 of the lung in which it occurs.
        air_hu: Of the holes, down to -990.
        lobule_mm: Distance of the holes.
        hole: Radius of the holes in lobules.
        bullae: Number of large bullae.
        bulla_mm: Radius of the largest.
    """

    kind = "emphysema"
    stage = 0
    both = 0.97

    form: str
    share: float
    air_hu: float
    lobule_mm: float
    hole: float
    bullae: int
    bulla_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw an emphysema; the worst have giant bullae."""
        bullae = random.poisson(4 * severity) if random.random() < 0.25 + 0.4 * severity else 0
        return (
            cls(
                sides=sides,
                severity=severity,
                form=choose(random, {"centrilobular": 0.5, "paraseptal": 0.25, "panlobular": 0.25}),
                share=0.12 + 0.83 * severity,
                air_hu=float(random.uniform(-990, -960)),
                lobule_mm=float(random.uniform(9, 16)),
                hole=0.26 + 0.34 * severity,
                bullae=int(bullae),
                bulla_mm=float(8 + 52 * severity * random.random()),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the form, then the bullae."""
        forms = {"centrilobular": self._centrilobular, "paraseptal": self._paraseptal, "panlobular": self._panlobular}
        mask = forms[self.form](region, random)
        self._add_bullae(region, random, mask)
        return {self.kind: mask}

    def _centrilobular(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        noise = fractal_noise(random, region.coarse_mm, 40.0)
        score = region.covering((noise + 2.2 * region.cranial).astype(np.float32), self.share)
        cells = Lobules(random, region, self.lobule_mm)
        mask = region.empty()
        for index, where, values in region.sweep(score, -0.3):
            at = cells.at(index, where)
            # Holes shrink towards the border of the region instead of being cut by it.
            radius = self.lobule_mm * self.hole * (0.55 + 0.75 * cells.code(at)) * np.sqrt(ramp(values, 0.6))
            weight = np.clip(0.5 + (radius - cells.core_mm(at)) / 1.6, 0.0, 1.0)
            _thin(region, index, where, weight, self.air_hu, mask)
        return mask

    def _paraseptal(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        depth = 7.0 + 20.0 * self.severity
        noise = smooth_noise(random, region.coarse_mm, 30.0)
        lean = region.covering((noise + 1.5 * region.cranial).astype(np.float32), 0.25 + 0.65 * self.severity)
        rim = depth * (0.75 + 0.3 * noise) - region.free_depth_mm
        score = np.minimum(rim, 10.0 * lean).astype(np.float32)
        cells = Lobules(random, region, 1.3 * self.lobule_mm + 8.0 * self.severity)
        mask = region.empty()
        for index, where, values in region.sweep(score, -1.0):
            at = cells.at(index, where)
            weight = ramp(values, 2.0)
            wall = np.clip(1.3 - cells.wall_mm(at) / 0.5, 0.0, 1.0) * 0.7 * weight
            _thin(region, index, where, weight, self.air_hu, mask)
            plane = region.values(index)
            plane[where] += wall * np.maximum(-350.0 - plane[where], 0.0)
        return mask

    def _panlobular(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        noise = fractal_noise(random, region.coarse_mm, 60.0)
        score = region.covering((noise - 1.4 * region.cranial).astype(np.float32), self.share)
        loss = 0.35 + 0.6 * self.severity
        mask = region.empty()
        for index, where, values in region.sweep(score, -0.6):
            weight = ramp(values, 1.2)
            plane = region.values(index)
            before = plane[where]
            # Vessels are pruned: thin ones go, thick ones stay.
            gone = np.where(before > -500.0, 0.25, loss)
            plane[where] = before + weight * gone * np.minimum(self.air_hu - before, 0.0)
            mask[index].reshape(-1)[where] = weight >= 0.5
        return mask

    def _add_bullae(self, region: LungRegion, random: np.random.Generator, mask: np.ndarray) -> None:
        """Thin-walled balloons, mostly at the apex and under the pleura, with a strand across the large ones."""
        places = region.places(
            (region.depth_mm < 14.0) & (region.cranial > random.uniform(0, 0.7)), self.bullae, random
        )
        for place in places:
            radius = self.bulla_mm * random.uniform(0.35, 1.0)
            reach = radius * 1.35 + 2.0
            box = region.near(place - reach, place + reach)
            if box is None:
                continue
            axes = [axis[part] for axis, part in zip(region.axes_mm, box, strict=True)]
            stretch = random.uniform(0.7, 1.3, 3)
            z, y, x = np.ix_(*((axis - middle) / part for axis, middle, part in zip(axes, place, stretch, strict=True)))
            edge = (radius - np.sqrt(z**2 + y**2 + x**2)).astype(np.float32)
            edge = edge + 0.11 * radius * smooth_noise(random, tuple(axes), max(radius, 4.0))
            weight = np.clip(0.5 + edge / 0.8, 0.0, 1.0) * region.inside[box]
            wall = np.clip(1.1 - np.abs(edge) / 0.7, 0.0, 1.0) * region.inside[box]
            region.hu[box] += weight * (self.air_hu - 5.0 - region.hu[box])
            region.hu[box] += 0.5 * wall * np.maximum(-200.0 - region.hu[box], 0.0)
            mask[box] |= weight >= 0.5
            if radius > 15.0:
                heading = random.standard_normal(3)
                strand = heading / np.linalg.norm(heading) * radius
                paint_tube(region, place - strand, place + strand, 0.5, -200.0, only_up=True)


def _thin(
    region: LungRegion, index: int, where: np.ndarray, weight: np.ndarray, air_hu: float, mask: np.ndarray
) -> None:
    """Let tissue go, but for vessels, where the weight is high."""
    plane = region.values(index)
    before = plane[where]
    spared = np.where(before > -450.0, 0.25, 1.0)
    plane[where] = before + weight * spared * np.minimum(air_hu - before, 0.0)
    mask[index].reshape(-1)[where] |= weight >= 0.5
