"""Bronchi that have lost their taper: wide, thick-walled, some plugged with mucus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import grow_branches, paint_bronchi, paint_tube
from datastore.phantom.lesions.masses import paint_grain
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion


@dataclass(frozen=True, kw_only=True)
class Bronchiectasis(LesionPlan):
    """Bronchi wider than the artery beside them, without taper, seen within 1 cm of the pleura (Hansell et al. 2008).

    Attributes:
        count: Number of wide bronchi in each lung.
        lumen_mm: Their inner radius.
        wall_mm: Thickness of their walls.
        plugged: 0..1 of them that are filled with mucus.
        buds: Grains at their tips (tree in bud) for each bronchus.
        lower: Whether lower lobes are chosen, else upper.
    """

    kind = "bronchiectasis"
    both = 0.7

    count: int
    lumen_mm: float
    wall_mm: float
    plugged: float
    buds: int
    lower: bool

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw the bronchi; worse is more and wider."""
        return (
            cls(
                sides=sides,
                severity=severity,
                count=int(4 + 26 * severity),
                lumen_mm=float((1.4 + 2.6 * severity) * random.uniform(0.8, 1.2)),
                wall_mm=float(random.uniform(0.8, 1.6)),
                plugged=float(random.uniform(0, 0.4)),
                buds=int(random.integers(0, 14)),
                lower=bool(random.random() < 0.65),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint open bronchi, plugged ones and the buds at their tips."""
        mask = region.empty()
        lobe = region.cranial < 0.5 if self.lower else region.cranial > 0.5
        where = region.in_lung & lobe & (region.depth_mm < 30)
        plugged = round(self.count * self.plugged)
        for count, lumen_hu in ((plugged, 15.0), (self.count - plugged, -985.0)):
            if count:
                tree = grow_branches(region, where, count, random, margin_mm=5.0)
                paint_bronchi(
                    region, tree, (self.lumen_mm, 0.4), wall_mm=self.wall_mm, lumen_hu=lumen_hu, mask=mask
                )  # fmt: skip
                # The artery beside it, now the smaller of the two, makes a signet ring.
                beside = random.standard_normal(3)
                beside *= (1.7 * self.lumen_mm + self.wall_mm) / np.linalg.norm(beside)
                for start, end in zip(tree.start_mm + beside, tree.end_mm + beside, strict=True):
                    paint_tube(region, start, end, 0.6 * self.lumen_mm, 40.0, only_up=True)
        for place in region.places(where & (region.depth_mm < 20), self.count, random):
            for bud in place + random.normal(0, 5.0, (self.buds, 3)):
                paint_grain(region, bud, random.uniform(0.8, 1.8), mask)
        return {self.kind: mask}
