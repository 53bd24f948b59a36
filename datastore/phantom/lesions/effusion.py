"""Fluid in the pleural space: free, loculated or in a fissure, with the lung it compresses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import smooth_noise
from datastore.phantom.lesions.plan import LesionPlan, choose
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import fill, ramp, replace


@dataclass(frozen=True, kw_only=True)
class Effusion(LesionPlan):
    """Fluid that gathers where gravity draws it, a crescent that climbs the chest wall as a meniscus.

    Water-like transudate measures about 0-20 HU, exudate 10-30 and blood 35-70 (Hansell et al., Fleischner
    Society glossary, Radiology 2008, and textbooks of chest imaging).

    Attributes:
        form: "free", "loculated" or "fissural".
        fluid_hu: Of the fluid.
        share: 0..1 of the lung's space that it takes.
        meniscus_mm: How far it climbs along the pleura.
        meniscus_depth_mm: How thick the climbing layer is.
        basal: How much more the bases hold than the apex, mm of height.
        compressed_mm: Thickness of the airless lung beside it.
        compressed_hu: Of that lung; higher with contrast medium.
        rim_hu: Thickened pleura of an empyema; None without.
    """

    kind = "effusion"
    stage = 4
    both = 0.5

    form: str
    fluid_hu: float
    share: float
    meniscus_mm: float
    meniscus_depth_mm: float
    basal_mm: float
    compressed_mm: float
    compressed_hu: float
    rim_hu: float | None

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw an effusion: mostly free."""
        form = choose(random, {"free": 0.75, "loculated": 0.17, "fissural": 0.08})
        enhanced = random.random() < 0.5
        empyema = form == "loculated" and random.random() < 0.6
        return (
            cls(
                sides=sides,
                severity=severity,
                form=form,
                fluid_hu=float(random.uniform(0, 28)),
                share=free_share(severity),
                meniscus_mm=float(random.uniform(25, 70)),
                meniscus_depth_mm=float(random.uniform(10, 26)),
                basal_mm=float(random.uniform(30, 90)),
                compressed_mm=float((2 + (24 if form == "free" else 6) * severity) * random.uniform(0.5, 1.3)),
                compressed_hu=float(random.uniform(70, 115) if enhanced else random.uniform(28, 50)),
                rim_hu=float(random.uniform(60, 100)) if empyema else None,
            ),
        )

    @classmethod
    def beside(
        cls,
        random: np.random.Generator,
        plan: LesionPlan,
        share: float,
        fluid_hu: tuple[float, float],
        meniscus_mm: tuple[float, float],
        meniscus_depth_mm: tuple[float, float],
        basal_mm: tuple[float, float],
    ) -> Effusion:
        """Draw the free fluid that comes with another disease; pairs are the least and the most."""
        return cls(
            sides=plan.sides,
            severity=plan.severity,
            form="free",
            fluid_hu=float(random.uniform(*fluid_hu)),
            share=share,
            meniscus_mm=float(random.uniform(*meniscus_mm)),
            meniscus_depth_mm=float(random.uniform(*meniscus_depth_mm)),
            basal_mm=float(random.uniform(*basal_mm)),
            compressed_mm=float((2 + 50 * share) * random.uniform(0.5, 1.2)),
            compressed_hu=float(random.uniform(30, 90)),
            rim_hu=None,
        )

    @property
    def pull_mm(self) -> float:
        """Much fluid pushes the mediastinum away."""
        return -40.0 * max(0.0, self.share - 0.4) if self.form == "free" else 0.0

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the compressed lung, then the fluid over it."""
        scores = {"free": self._free, "loculated": self._loculated, "fissural": self._fissural}
        score = scores[self.form](region, random)
        masks = {}
        if self.form != "fissural":
            thickness = self.compressed_mm * (0.2 + 0.8 * np.clip(1.3 - 1.6 * region.cranial, 0.0, 1.0))
            thickness = thickness * np.clip(1.0 + 0.45 * smooth_noise(random, region.coarse_mm, 28.0), 0.15, 2.0)
            away = region.distance_mm(score > 0)
            near = np.where(score > 0, thickness, thickness - away).astype(np.float32)
            if not (score[region.in_lung] > 0).any():
                near[:] = -1e6
            fill(region, near + 7.0, 16.0, 0.3, 40.0)
            masks["atelectasis"] = fill(region, near, 3.0, 1.0, self.compressed_hu)
        if self.rim_hu is not None:
            fill(region, score + 2.5, 1.5, 1.0, self.rim_hu, airways_stay=False)
        grain = Lobules(random, region, 25.0)
        masks[self.kind] = replace(region, score, 1.5, self.fluid_hu, grain=grain, roughness_hu=1.5)
        if self.rim_hu is not None:
            pleura = np.minimum(score, 2.5 - region.depth_mm)
            replace(region, pleura, 1.5, self.rim_hu)
        if "atelectasis" in masks:
            masks["atelectasis"] &= ~masks[self.kind]
        return masks

    def _free(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        climb = self.meniscus_mm * np.exp(-np.clip(region.depth_mm, 0, None) / self.meniscus_depth_mm)
        height = region.height_mm + self.basal_mm * region.cranial
        ripple = 3.0 * smooth_noise(random, region.coarse_mm, 30.0)
        # The lung hangs on its hilum: fluid comes there last, and a tongue of airless lung remains in it.
        root = 70.0 * np.exp(-((region.from_hilum_mm / 48.0) ** 2))
        return region.covering((climb - height + ripple - root).astype(np.float32), self.share)

    def _loculated(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        """Lenses against the pleura, some of them not dependent."""
        score = np.full(region.in_lung.shape, -1e6, np.float32)
        rim = (region.depth_mm < 6.0) & (region.sign * region.grid_mm[2] > 60.0)
        for _ in range(1 + int(random.integers(0, 3))):
            radius = (18 + 75 * self.severity) * random.uniform(0.8, 1.2)
            thickness = radius * random.uniform(0.35, 0.75)
            dependent = rim & (region.relative_height < random.uniform(0.3, 1.0))
            for centre in region.places(dependent, 1, random):
                squared = sum((axis - place) ** 2 for axis, place in zip(region.grid_mm, centre, strict=True))
                lens = thickness * (1 - squared / radius**2) - region.depth_mm
                score = np.maximum(score, lens + 1.2 * smooth_noise(random, region.coarse_mm, 25.0))
        return score.astype(np.float32)

    def _fissural(self, region: LungRegion, random: np.random.Generator) -> np.ndarray:
        """A spindle between two lobes, and a little at the costal pleura."""
        lobes = [int(value) for value in np.unique(region.coarse_lobes[region.in_lung]) if value]
        small = region.covering(self._free(region, random), 0.35 * self.share)
        if len(lobes) < 2:
            return small
        lobe = lobes[int(random.integers(len(lobes)))]
        own = region.coarse_lobes == lobe
        beyond = region.in_lung & ~own
        fissure_mm = np.where(own, region.distance_mm(beyond), region.distance_mm(own)) - 1.2
        spindle = smooth_noise(random, region.coarse_mm, 70.0) + 1.2 * (0.6 - region.relative_height)
        thickness = (2.0 + 16.0 * self.severity) * ramp(spindle - 0.1, 1.2)
        return np.maximum(small, thickness - fissure_mm - 0.3).astype(np.float32)


def free_share(severity: float) -> float:
    """Share of the lung's space that free fluid takes: a thin crescent at 0.1, a white lung at 1."""
    return 0.012 + 0.9 * severity**1.8
