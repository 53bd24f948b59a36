"""Air spaces that fill with pus, fluid or blood: consolidation and ground glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import grow_branches, paint_bronchi
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise, smooth_noise
from datastore.phantom.lesions.plan import LesionPlan, choose
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, fill, filling, up_to


@dataclass(frozen=True, kw_only=True)
class Consolidation(LesionPlan):
    """Lung so dense that vessels and airway walls can no longer be told from it (Hansell et al. 2008).

    Attributes:
        form: "lobar", "segmental", "patchy" or "whole lung".
        share: 0..1 of the lobe or lung that it takes.
        tissue_hu: 10-60 without contrast medium, up to 120 with it.
        bronchograms: 0..1 how many bronchi still hold air.
        halo_mm: Ground glass about it.
        edge_mm: Width of its own border.
    """

    kind = "consolidation"

    form: str
    share: float
    tissue_hu: float
    bronchograms: float
    halo_mm: float
    edge_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a pneumonia; a severe one may take the whole lung."""
        whole = 0.3 if severity > 0.8 else 0.0
        form = choose(random, {"lobar": 0.4, "segmental": 0.25, "patchy": 0.35, "whole lung": whole})
        low, high = {
            "lobar": (0.35, 1.0), "segmental": (0.02, 0.3), "patchy": (0.02, 0.45), "whole lung": (0.7, 1.0)
        }[form]  # fmt: skip
        return (
            cls(
                sides=sides,
                severity=severity,
                form=form,
                share=low + (high - low) * severity,
                tissue_hu=float(random.uniform(15, 55) if random.random() < 0.6 else random.uniform(60, 120)),
                bronchograms=float(random.uniform(0.3, 1.0)) if random.random() < 0.8 else 0.0,
                halo_mm=float(random.uniform(6, 30)),
                edge_mm=float(random.uniform(2.5, 9)),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Paint ground glass, the consolidation in it and the air in its bronchi."""
        within = region.in_lung
        noise = fractal_noise(random, region.coarse_mm, 38.0)
        if self.form == "lobar":
            lobes = [int(value) for value in np.unique(region.coarse_lobes[region.in_lung]) if value] or [0]
            chosen = random.permutation(lobes)[: 2 if self.severity > 0.8 and len(lobes) > 2 else 1]
            within = within & np.isin(region.coarse_lobes, chosen)
            noise = 14.0 * noise - 0.35 * region.free_depth_mm + 16.0 * (1 - region.relative_height)
        elif self.form == "segmental":
            noise = _wedges(region, random) + 5.0 * noise
        elif self.form == "patchy":
            noise = 16.0 * noise + 14.0 * (1 - region.relative_height) - 10.0 * region.cranial
        else:
            noise = 16.0 * noise - 0.2 * region.free_depth_mm
        score = region.covering(noise.astype(np.float32), self.share, within)
        halo = score + self.halo_mm / 2
        if self.form == "lobar":
            score = up_to(region, score, within)
            edge = 0.5 * (self.halo_mm - 2.0)
            halo = np.where(region.in_lung & ~within, np.minimum(halo, score - edge), halo).astype(np.float32)
        mottle = Lobules(random, region, 14.0)
        fill(region, halo, self.halo_mm, 0.4, SOFT_HU, grain=mottle, roughness=0.2)
        mask = fill(
            region,
            score,
            self.edge_mm,
            1.0,
            self.tissue_hu,
            grain=mottle,
            roughness=0.03,
            airways_stay=self.bronchograms > 0,
        )
        if self.bronchograms > 0 and mask.any():
            open_bronchi = grow_branches(region, score > 2.0, int(10 + 45 * self.bronchograms), random)
            paint_bronchi(region, open_bronchi, (0.6, 2.0), within=mask, lumen_hu=-960.0)
        return {self.kind: mask}


@dataclass(frozen=True, kw_only=True)
class GroundGlass(LesionPlan):
    """Hazy lung in which bronchial and vascular margins are preserved (Hansell et al. 2008).

    Attributes:
        where: "diffuse", "patchy", "basal", "apical", "central" or "peripheral".
        share: 0..1 of the lung.
        haze_hu: -700..-300.
        edge_mm: Width of its border.
        mosaic: Whether whole lobules are in or out of it, with sharp borders.
    """

    kind = "ground glass"
    both = 0.75

    where: str
    share: float
    haze_hu: float
    edge_mm: float
    mosaic: bool

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw ground glass; worse is wider and denser."""
        places = ("diffuse", "patchy", "basal", "apical", "central", "peripheral")
        return (
            cls(
                sides=sides,
                severity=severity,
                where=str(random.choice(places)),
                share=0.05 + 0.87 * severity,
                haze_hu=float(np.clip(-680 + 280 * severity + random.uniform(-60, 60), -700, -330)),
                edge_mm=float(random.uniform(4, 22)),
                mosaic=bool(random.random() < 0.25),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Fill a share of the air spaces, which leaves vessels visible."""
        lean = {
            "diffuse": 0.0 * region.depth_mm,
            "patchy": 0.0 * region.depth_mm,
            "basal": -60.0 * region.cranial,
            "apical": 60.0 * region.cranial,
            "central": -0.8 * region.from_hilum_mm,
            "peripheral": -1.6 * region.depth_mm,
        }[self.where]
        noise = fractal_noise(random, region.coarse_mm, 45.0 if self.where != "diffuse" else 90.0)
        score = region.covering((lean + 18.0 * noise).astype(np.float32), self.share)
        share = filling(region, self.haze_hu)
        cells = Lobules(random, region, 17.0)
        if not self.mosaic:
            return {self.kind: fill(region, score, self.edge_mm, share, SOFT_HU, grain=cells, roughness=0.07)}
        mask = region.empty()
        for index, where, values in region.sweep(score, -25.0):
            at = cells.at(index, where)
            weight = np.clip(0.5 + (values + 40.0 * (cells.code(at) - 0.5)) / 3.0, 0.0, 1.0) * (values > -22.0)
            weight *= np.clip((region.values(index)[where] - region.base_hu + 90.0) / 50.0, 0.0, 1.0)
            plane = region.values(index)
            plane[where] += share * weight * np.maximum(SOFT_HU - plane[where], 0.0)
            mask[index].reshape(-1)[where] = weight >= 0.5
        return {self.kind: mask}


def _wedges(region: LungRegion, random: np.random.Generator) -> np.ndarray:
    """Coarse score, high in one to three cones from the hilum to the pleura; in about mm."""
    best = np.full(region.in_lung.shape, -1e3, np.float32)
    rim = (region.depth_mm < 6.0) & (region.from_hilum_mm > 45.0)
    for target in region.places(rim, 1 + int(random.integers(0, 3)), random):
        way = (target - region.hilum_mm) / np.linalg.norm(target - region.hilum_mm)
        offsets = [axis - place for axis, place in zip(region.grid_mm, region.hilum_mm, strict=True)]
        along = sum(offset * part for offset, part in zip(offsets, way, strict=True))
        across = np.sqrt(np.maximum(region.from_hilum_mm**2 - along**2, 0.0))
        cone = 0.45 * along - across - np.where(along < 20, 40.0, 0.0)
        best = np.maximum(best, cone + 3.0 * smooth_noise(random, region.coarse_mm, 30.0))
    return best
