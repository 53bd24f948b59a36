"""Lung that has lost its air and with it its volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.branches import grow_branches, paint_bronchi
from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.noise_fields import smooth_noise
from datastore.phantom.lesions.plan import LesionPlan, choose
from datastore.phantom.lesions.region import LungRegion
from datastore.phantom.lesions.tissue import fill, up_to
from datastore.phantom.lesions.volume_loss import raise_diaphragm


@dataclass(frozen=True, kw_only=True)
class Atelectasis(LesionPlan):
    """Collapse: a wedge of a lobe, bands above the diaphragm, the dependent rim of a lying patient, or a lung.

    Attributes:
        form: "lobar", "plates", "dependent", "rounded" or "whole lung".
        share: 0..1 of the lobe or lung.
        tissue_hu: Airless lung, 30-60; up to 130 with contrast medium since vessels crowd.
        rise_mm: How far the diaphragm rises.
        bronchograms: Whether crowded bronchi hold air.
    """

    kind = "atelectasis"
    stage = 2

    form: str
    share: float
    tissue_hu: float
    rise_mm: float
    bronchograms: bool

    @classmethod
    def draw(cls, random: np.random.Generator, sides: tuple[int, ...], severity: float) -> tuple[LesionPlan, ...]:
        """Draw an atelectasis; worse takes more lung and raises the diaphragm more."""
        whole = 0.25 if severity > 0.8 else 0.0
        form = choose(random, {"lobar": 0.35, "plates": 0.2, "dependent": 0.35, "rounded": 0.1, "whole lung": whole})
        low, high = {
            "lobar": (0.25, 0.75), "plates": (0.004, 0.05), "dependent": (0.01, 0.35), "rounded": (0.01, 0.06),
            "whole lung": (0.85, 1.0),
        }[form]  # fmt: skip
        lift = {"lobar": 55.0, "plates": 35.0, "dependent": 30.0, "rounded": 10.0, "whole lung": 60.0}[form]
        return (
            cls(
                sides=sides,
                severity=severity,
                form=form,
                share=low + (high - low) * severity,
                tissue_hu=float(random.uniform(28, 60) if random.random() < 0.5 else random.uniform(70, 130)),
                rise_mm=float(lift * severity * random.uniform(0.4, 1.0)),
                bronchograms=bool(random.random() < 0.5),
            ),
        )

    @property
    def pull_mm(self) -> float:
        """The mediastinum follows a collapsed lobe or lung."""
        return 0.6 * self.rise_mm if self.form in ("lobar", "whole lung") else 0.0

    def paint(self, region: LungRegion, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raise the diaphragm, then paint the airless lung."""
        raise_diaphragm(region, self.rise_mm)
        form = {"lobar": _lobe, "plates": _plates, "dependent": _dependent, "rounded": _rounded}.get(self.form, _whole)
        score = form(region, random, self.share)
        fill(region, score + 3.0, 7.0, 0.2, 40.0)
        grain = Lobules(random, region, 20.0)
        mask = fill(
            region, score, 2.0, 1.0, self.tissue_hu, grain=grain, roughness=0.02, airways_stay=self.bronchograms
        )
        if self.bronchograms and self.form in ("lobar", "whole lung", "dependent") and mask.any():
            crowded = grow_branches(region, score > 2.0, 14, random, margin_mm=4.0)
            paint_bronchi(region, crowded, (0.6, 2.0), within=mask, lumen_hu=-950.0)
        return {self.kind: mask}


def _lobe(region: LungRegion, random: np.random.Generator, share: float) -> np.ndarray:
    """A wedge against the mediastinum: lower lobes fall back and down, upper lobes forward and up."""
    lobes = [int(value) for value in np.unique(region.coarse_lobes[region.in_lung]) if value] or [0]
    lobe = lobes[int(random.integers(len(lobes)))]
    within = region.in_lung & (region.coarse_lobes == lobe)
    z, y, x = region.grid_mm
    lower = lobe in (2, 5)
    back = y if lower else -y
    score = -np.abs(x) + (1.1 if lower else 0.6) * back + (-0.15 if lower else 0.3) * z
    score = score + 4.0 * smooth_noise(random, region.coarse_mm, 45.0)
    score = region.covering(score.astype(np.float32), share, within)
    return up_to(region, score, within)


def _plates(region: LungRegion, random: np.random.Generator, share: float) -> np.ndarray:
    """Flat bands, 2-8 mm thick, nearly level, in the lower half, that reach the pleura."""
    best = np.full(region.in_lung.shape, -1e6, np.float32)
    low = region.in_lung & (region.cranial < 0.45)
    count = 2 + round(60 * share) + int(random.integers(0, 3))
    for place in region.places(low, count, random):
        normal = np.array([1.0, *random.normal(0, 0.35, 2)])
        normal /= np.linalg.norm(normal)
        offsets = [axis - middle for axis, middle in zip(region.grid_mm, place, strict=True)]
        above = sum(offset * part for offset, part in zip(offsets, normal, strict=True))
        away = np.sqrt(sum(offset**2 for offset in offsets))
        half = random.uniform(1.2, 2.5) + 25 * share * random.random()
        reach = random.uniform(25, 45) + 300 * share
        bend = 2.0 * smooth_noise(random, region.coarse_mm, 35.0)
        best = np.maximum(best, np.minimum(half - np.abs(above + bend), 0.5 * (reach - away)))
    return best.astype(np.float32)


def _dependent(region: LungRegion, random: np.random.Generator, share: float) -> np.ndarray:
    """The rim on which the patient lies, thickest at the base."""
    noise = smooth_noise(random, region.coarse_mm, 30.0)
    score = -0.5 * region.height_mm - 1.2 * np.clip(region.depth_mm, 0, 30) - 55.0 * region.cranial + 5.0 * noise
    return region.covering(score.astype(np.float32), share)


def _rounded(region: LungRegion, random: np.random.Generator, share: float) -> np.ndarray:
    """A round mass on the pleura with a tail of vessels that bend towards the hilum."""
    score = np.full(region.in_lung.shape, -1e6, np.float32)
    rim = (region.depth_mm < 8.0) & (region.relative_height < 0.5) & (region.cranial < 0.6)
    for place in region.places(rim, 1, random):
        away = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(region.grid_mm, place, strict=True)))
        way = region.hilum_mm - place
        offsets = [axis - middle for axis, middle in zip(region.grid_mm, place, strict=True)]
        toward = sum(offset * part for offset, part in zip(offsets, way / np.linalg.norm(way), strict=True))
        radius = 12.0 + 400.0 * share
        across = np.sqrt(np.maximum(away**2 - toward**2, 0.0))
        tail = np.where((toward > 0) & (toward < 2.2 * radius), 0.5 * radius * (1 - toward / (2.2 * radius)), 0.0)
        noise = 1.5 * smooth_noise(random, region.coarse_mm, 14.0)
        score = np.maximum(radius - away, tail - across) + noise
    return score.astype(np.float32)


def _whole(region: LungRegion, random: np.random.Generator, share: float) -> np.ndarray:
    noise = smooth_noise(random, region.coarse_mm, 40.0)
    return region.covering((-0.4 * region.height_mm + 8.0 * noise).astype(np.float32), share)
