"""How a disease changes Hounsfield units: air spaces fill, tissue goes, something else takes the place."""

from __future__ import annotations

import numpy as np

from datastore.phantom.lesions.lobules import Lobules
from datastore.phantom.lesions.region import LungRegion

SOFT_HU, AIR_HU = 40.0, -1000.0
SEEN = 0.5
"""From this share on a voxel counts as diseased in a mask."""


def ramp(values: np.ndarray, width: float) -> np.ndarray:
    """0..1 across a border at 0 that is `width` wide."""
    return np.clip(0.5 + values / width, 0.0, 1.0)


def filling(region: LungRegion, hu: float) -> float:
    """The share of soft tissue that brings healthy parenchyma to a mean of `hu`, 0..1."""
    return float(np.clip((hu - region.base_hu) / (SOFT_HU - region.base_hu), 0.0, 1.0))


def up_to(region: LungRegion, score: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Keep a coarse score from growing out of a part of the lung, e.g. over a fissure; nothing changes outside."""
    border_mm = region.distance_mm(region.in_lung & ~within) - region.distance_mm(within)
    return np.where(region.in_lung, np.minimum(score, 4.0 * border_mm), score).astype(np.float32)


def fill(
    region: LungRegion,
    score: np.ndarray,
    edge: float,
    share: float,
    tissue_hu: float,
    *,
    grain: Lobules | None = None,
    roughness: float = 0.0,
    airways_stay: bool = True,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Fill air spaces with tissue or fluid where a coarse score is above 0.

    Filling moves each voxel towards `tissue_hu` and so leaves vessels visible in ground glass; vessels brighter
    than the tissue, by contrast medium, stay as they are, and so does the air of bronchi if `airways_stay`.

    Args:
        region: The lung.
        score: Coarse array, above 0 in the disease.
        edge: Width of the border, in units of the score.
        share: 0..1 of the air that goes; 1 is consolidation.
        tissue_hu: What fills it.
        grain: Fine texture.
        roughness: Deviation of the share by the texture.
        airways_stay: Whether air much darker than parenchyma remains air.
        out: Mask to add to.

    Returns:
        (z, y, x) bool of the box: where the disease is at least half of its share.
    """
    mask = region.empty() if out is None else out
    for index, where, values in region.sweep(score, -0.5 * edge):
        weight = ramp(values, edge)
        mask[index].reshape(-1)[where] |= weight >= SEEN
        weight *= share
        if grain is not None and roughness > 0:
            weight = np.clip(weight * (1 + roughness * grain.grain(grain.at(index, where))), 0.0, 1.0)
        plane = region.values(index)
        before = plane[where]
        if airways_stay:
            weight *= np.clip((before - (region.base_hu - 90.0)) / 50.0, 0.0, 1.0)
        plane[where] = before + weight * np.maximum(tissue_hu - before, 0.0)
    return mask


def replace(
    region: LungRegion,
    score: np.ndarray,
    edge: float,
    hu: float,
    *,
    grain: Lobules | None = None,
    roughness_hu: float = 0.0,
) -> np.ndarray:
    """Put fluid, air or tissue in the place of the lung where a coarse score is above 0; the mask of it."""
    mask = region.empty()
    for index, where, values in region.sweep(score, -0.5 * edge):
        weight = ramp(values, edge)
        mask[index].reshape(-1)[where] = weight >= SEEN
        plane = region.values(index)
        target = hu + (roughness_hu * grain.grain(grain.at(index, where)) if grain is not None else 0.0)
        plane[where] += weight * (target - plane[where])
    return mask
