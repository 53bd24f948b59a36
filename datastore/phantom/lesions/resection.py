"""A chest after surgery: a lung taken out, or a smaller one with a row of staples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import paint_tube
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import smooth_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import fill, replace
from datastore.phantom.lesions.volume_loss import raise_diaphragm

STAPLE_HU = 2400.0


@dataclass(frozen=True, kw_only=True)
class Resection(LesionPlan):
    """Pneumonectomy, whose space fills with fluid under a shrinking bubble of air, or removal of a lobe or wedge.

    Attributes:
        whole: Pneumonectomy.
        rise_mm: How far the diaphragm rises.
        shift_mm: How far the mediastinum comes over.
        fluid_hu: In the space after pneumonectomy.
        air_share: 0..1 of that space that still is air: days to weeks after surgery.
        staples: Number of staples along the cut.
    """

    kind = "resection"
    stage = 6
    both = 0.0

    whole: bool
    rise_mm: float
    shift_mm: float
    fluid_hu: float
    air_share: float
    staples: int

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw an operation; worse takes more, above 0.6 mostly the whole lung."""
        return (
            cls(
                sides=sides[:1],
                severity=severity,
                whole=bool(random.random() < np.clip(3 * severity - 1.5, 0.0, 0.8)),
                rise_mm=float(70 * severity * random.uniform(0.5, 1.0)),
                shift_mm=float(32 * severity * random.uniform(0.2, 1.0)),
                fluid_hu=float(random.uniform(2, 30)),
                air_share=float(random.uniform(0.1, 0.6)) if random.random() < 0.4 else 0.0,
                staples=int(random.integers(15, 60)) if random.random() < 0.8 else 0,
            ),
        )

    @property
    def pull_mm(self) -> float:
        """The mediastinum comes over into the emptied space."""
        return self.shift_mm

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Shrink the lung, then fill the space or scar the cut."""
        raise_diaphragm(region, self.rise_mm)
        if self.whole:
            everywhere = np.where(region.in_lung, 20.0, 5.0).astype(np.float32)
            grain = Lobules(random, region, 25.0)
            mask = replace(region, everywhere, 1.0, self.fluid_hu, grain=grain, roughness_hu=1.5)
            if self.air_share > 0 and region.in_lung.any():
                level = np.quantile(region.height_mm[region.in_lung], 1 - self.air_share)
                replace(region, (region.height_mm - level).astype(np.float32), 1.2, -1000.0)
            rim = (2.5 - region.depth_mm).astype(np.float32)
            fill(region, rim, 1.5, 1.0, 60.0, airways_stay=False)
            self._staple(region, random, region.hilum_mm, 12.0)
            return {self.kind: mask}
        scar = np.full(region.in_lung.shape, -1e6, np.float32)
        starts = region.places(region.in_lung & (region.depth_mm < 25), 1, random)
        for place in starts:
            normal = random.standard_normal(3)
            normal /= np.linalg.norm(normal)
            offsets = [axis - middle for axis, middle in zip(region.grid_mm, place, strict=True)]
            beside = np.abs(sum(offset * part for offset, part in zip(offsets, normal, strict=True)))
            away = np.sqrt(sum(offset**2 for offset in offsets))
            bend = 1.5 * smooth_noise(random, region.coarse_mm, 20.0)
            half = 1.5 + 4.0 * self.severity * np.exp(-away / 25.0)
            scar = np.minimum(half - np.abs(beside + bend), 0.5 * (18 + 30 * self.severity - away))
        mask = fill(region, scar.astype(np.float32), 2.5, 0.95, 40.0)
        for place in starts:
            self._staple(region, random, place, 9.0)
        return {self.kind: mask}

    def _staple(self, region: LungRegion, random: np.random.Generator, centre_mm: np.ndarray, reach_mm: float) -> None:
        """A curved row of short metal pieces, 3 mm apart."""
        heading, bend = random.standard_normal((2, 3))
        heading /= np.linalg.norm(heading)
        bend *= reach_mm / 40.0 / np.linalg.norm(bend)
        for number in range(self.staples):
            along = 3.0 * (number - self.staples / 2)
            if abs(along) > 3 * reach_mm:
                continue
            place = centre_mm + heading * along + bend * (along / reach_mm) ** 2 * reach_mm / 4
            tip = place + random.normal(0, 1.0, 3)
            paint_tube(region, place, tip, 0.6, STAPLE_HU, only_up=True)
