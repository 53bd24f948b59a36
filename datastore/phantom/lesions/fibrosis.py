"""Scarred lung: reticulation under the pleura, dragged bronchi and honeycombing, worst at the bases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import grow_branches, paint_bronchi
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import fractal_noise
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import SOFT_HU, ramp
from datastore.phantom.lesions.volume_loss import raise_diaphragm


@dataclass(frozen=True, kw_only=True)
class Fibrosis(LesionPlan):
    """Usual interstitial pneumonia: cysts of 3-10 mm with walls of 1-3 mm in rows under the pleura, a mesh of
    lines, traction bronchiectasis (Hansell et al., Fleischner Society glossary, Radiology 2008).

    Attributes:
        share: 0..1 of the lung that is scarred.
        mesh_mm: Width of the meshes of reticulation.
        cyst_mm: Diameter of the cysts.
        honeycomb_share: 0..1 of the scar that is honeycombed.
        haze: 0..1 of air lost between the lines.
        bronchi: Number of dragged bronchi.
        rise_mm: How far the shrunken lung lets the diaphragm rise.
    """

    kind = "fibrosis"
    both = 0.95

    share: float
    mesh_mm: float
    cyst_mm: float
    honeycomb_share: float
    haze: float
    bronchi: int
    rise_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw a fibrosis; from the middle of the scale on with honeycombing."""
        comb = np.clip(1.2 * severity - 0.3, 0.0, 0.7) * random.uniform(0.4, 1.0)
        return (
            cls(
                sides=sides,
                severity=severity,
                share=0.05 + 0.5 * severity,
                mesh_mm=float(random.uniform(3.5, 7)),
                cyst_mm=float(random.uniform(4.5, 10)),
                honeycomb_share=float(comb),
                haze=float(random.uniform(0.08, 0.2)),
                bronchi=int(4 + 22 * severity),
                rise_mm=float(35 * severity * random.uniform(0.3, 1.0)),
            ),
        )

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raise the diaphragm, draw mesh and cysts, then the bronchi that the scar pulls open."""
        raise_diaphragm(region, self.rise_mm)
        noise = fractal_noise(random, region.coarse_mm, 32.0)
        score = 4.5 * noise - region.depth_mm - 30.0 * region.cranial - 6.0 * region.relative_height
        score = region.covering(score.astype(np.float32), self.share)
        combed = score - 1.2 * region.depth_mm + 3.0 * fractal_noise(random, region.coarse_mm, 20.0)
        combed = region.covering(combed.astype(np.float32), self.honeycomb_share, score > 0)
        mesh, cysts = Lobules(random, region, self.mesh_mm), Lobules(random, region, self.cyst_mm)
        thick = 0.45 * max(1.0, float(np.mean(region.spacing_mm[1:])))
        mask = region.empty()
        for index, where, values in region.sweep(score, -4.0):
            weight = ramp(values, 8.0)
            near, at = mesh.at(index, where), cysts.at(index, where)
            lines = np.clip((thick + 0.15 - mesh.wall_mm(near)) / 0.7, 0, 1) * (0.15 + 0.6 * mesh.code(near))
            lines += self.haze * (1 + 0.3 * mesh.grain(near))
            plane = region.values(index)
            before = plane[where]
            after = before + weight * np.clip(lines, 0, 1) * np.maximum(SOFT_HU - before, 0.0)
            comb = weight * ramp(region.plane(combed, index).reshape(-1)[where], 3.0)
            wall = np.clip((thick + 0.45 + 0.8 * cysts.code(at) ** 2 - cysts.wall_mm(at)) / 0.6, 0, 1)
            cyst_hu = -950.0 + wall * (SOFT_HU - 20.0 + 950.0)
            plane[where] = after + comb * (cyst_hu - after)
            mask[index].reshape(-1)[where] = weight >= 0.5
        if mask.any():
            dragged = grow_branches(region, score > 0, self.bronchi, random, margin_mm=5.0)
            paint_bronchi(region, dragged, (1.3, 1.6), wall_mm=1.2, within=mask)
        return {self.kind: mask}
