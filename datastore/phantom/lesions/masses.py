"""Tumours and nodules, from a miliary grain to a mass that fills half a chest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.balls import paint_ball, paint_spicules
from datastore.phantom.lesions.branches import paint_tube
from datastore.phantom.lesions.plan import LesionPlan, choose
from datastore.phantom.lesions.region import LungRegion


@dataclass(frozen=True, kw_only=True)
class Mass(LesionPlan):
    """One large opacity: a nodule up to 30 mm, a mass above (Hansell et al. 2008).

    Attributes:
        place: "central", "pleural", "apical" or "inner".
        diameter_mm: 8-110.
        tissue_hu: 20-60, up to 100 with contrast medium.
        necrosis_hu: Of its core; None for a solid one.
        lobulation: Deviation of its surface in radii.
        spicules: Number of strands that radiate from it.
    """

    kind = "mass"
    stage = 2
    both = 0.05

    place: str
    diameter_mm: float
    tissue_hu: float
    necrosis_hu: float | None
    lobulation: float
    spicules: int

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a tumour; its diameter grows with the severity."""
        spiculated = random.random() < 0.5
        return (
            cls(
                sides=sides,
                severity=severity,
                place=choose(random, {"central": 0.3, "pleural": 0.4, "apical": 0.1, "inner": 0.2}),
                diameter_mm=float((8 + 95 * severity**1.3) * random.uniform(0.85, 1.1)),
                tissue_hu=float(random.uniform(22, 100)),
                necrosis_hu=float(random.uniform(5, 22)) if random.random() < 0.2 + 0.4 * severity else None,
                lobulation=float(random.uniform(0.05, 0.12) if spiculated else random.uniform(0.02, 0.16)),
                spicules=int(random.integers(25, 70)) if spiculated else 0,
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the strands, the mass over them and, now and then, a tag to the pleura."""
        mask = region.empty()
        radius = self.diameter_mm / 2
        depth = region.depth_mm
        where = {
            "central": (region.from_hilum_mm < 30 + radius) & (depth > 0.2 * radius),
            "pleural": (depth < 0.5 * radius + 3) & (region.from_hilum_mm > 50),
            "apical": (region.cranial > 0.85) & (depth < radius + 4),
            "inner": depth > 0.9 * min(radius, 25.0),
        }[self.place]
        for centre in region.places(where if (where & region.in_lung).any() else region.in_lung, 1, random):
            paint_spicules(region, centre, radius, self.spicules, random)
            paint_ball(
                region, centre, radius, self.tissue_hu, random,
                lobulation=self.lobulation, core_hu=self.necrosis_hu, mask=mask,
            )  # fmt: skip
            rim = (depth < 3) & (depth > 0)
            tags = region.places(rim, 40, random) if self.spicules and self.place == "inner" else np.empty((0, 3))
            if len(tags):
                nearest = tags[np.argmin(((tags - centre) ** 2).sum(1))]
                paint_tube(region, centre, nearest, 1.4, 20.0, tip_radius_mm=0.6, only_up=True)
        return {self.kind: mask}


@dataclass(frozen=True, kw_only=True)
class Nodules(LesionPlan):
    """Several nodules of 4-30 mm as of metastases, round and smooth, more of them at the bases and outside.

    Attributes:
        count: Number in each lung.
        diameter_mm: Of a typical one.
        tissue_hu: Of solid ones.
        hazy_share: 0..1 of them that are ground glass.
        calcified_share: 0..1 of them that hold calcium.
    """

    kind = "nodules"
    stage = 2
    both = 0.8

    count: int
    diameter_mm: float
    tissue_hu: float
    hazy_share: float
    calcified_share: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw the nodules; worse is more and larger ones."""
        return (
            cls(
                sides=sides,
                severity=severity,
                count=int(2 + 40 * severity**1.3 * random.uniform(0.7, 1.3)),
                diameter_mm=float((5 + 11 * severity) * random.uniform(0.8, 1.2)),
                tissue_hu=float(random.uniform(20, 70)),
                hazy_share=float(random.uniform(0, 1)) if random.random() < 0.2 else 0.0,
                calcified_share=float(random.uniform(0, 0.6)) if random.random() < 0.15 else 0.0,
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the nodules one by one."""
        mask = region.empty()
        for centre in region.places((region.cranial < 1.2 - 0.6 * random.random()), self.count, random):
            radius = 0.5 * self.diameter_mm * random.lognormal(0.0, 0.35)
            hazy = random.random() < self.hazy_share
            hu = 350.0 if random.random() < self.calcified_share else self.tissue_hu
            paint_ball(
                region, centre, radius, hu, random,
                lobulation=0.06 * random.random(), solid=0.4 if hazy else 1.0, mask=mask,
            )  # fmt: skip
        return {self.kind: mask}


@dataclass(frozen=True, kw_only=True)
class MiliaryNodules(LesionPlan):
    """Hundreds of grains of 1-4 mm without order (Hansell et al. 2008: up to 3 mm, uniform).

    Attributes:
        per_litre: Grains for a litre of lung.
        diameter_mm: 1.5-4.
        upper: How much more the upper lung has, as silicosis does; 0 for tuberculosis.
    """

    kind = "miliary"
    both = 1.0

    per_litre: float
    diameter_mm: float
    upper: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw the grains; worse is denser."""
        return (
            cls(
                sides=sides,
                severity=severity,
                per_litre=float(60 + 1000 * severity),
                diameter_mm=float(random.uniform(2.0, 4.0)),
                upper=float(random.uniform(0.3, 0.8)) if random.random() < 0.3 else 0.0,
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint the grains one by one."""
        mask = region.empty()
        litres = np.count_nonzero(region.inside) * float(np.prod(region.spacing_mm)) / 1e6
        places = region.places(region.in_lung, int(self.per_litre * litres), random)
        kept = random.random(len(places))
        span = max(float(np.ptp(region.axes_mm[0])), 1.0)
        low = float(region.axes_mm[0][0])
        for centre, chance in zip(places, kept, strict=True):
            if chance > 1 - self.upper * (1 - (centre[0] - low) / span):
                continue
            paint_grain(region, centre, 0.5 * self.diameter_mm * (0.7 + 0.6 * chance), mask)
        return {self.kind: mask}


def paint_grain(region: LungRegion, centre_mm: np.ndarray, radius_mm: float, mask: np.ndarray) -> None:
    """Blend a tiny ball of soft tissue into the lung; thinner than a slice it is fainter."""
    paint_tube(region, centre_mm, centre_mm, radius_mm, 30.0, mask=mask, only_up=True)
