"""Round lesions drawn voxel by voxel in their own small box: nodules, masses and cavities."""

from __future__ import annotations

import numpy as np

from datastore.phantom.lesions.branches import paint_tube
from datastore.phantom.lesions.noise_fields import smooth_noise
from datastore.phantom.lesions.region import Box, LungRegion


def ball(
    region: LungRegion, centre_mm: np.ndarray, radius_mm: float, lobulation: float, random: np.random.Generator
) -> tuple[Box, np.ndarray] | None:
    """How far inside an irregular ball the voxels around it lie.

    Args:
        region: The lung.
        centre_mm: (z, y, x).
        radius_mm: Mean radius.
        lobulation: Deviation of the surface in radii, 0 for an ellipsoid.
        random: Source of the shape.

    Returns:
        The box and (z, y, x) float32 mm below the surface, negative outside; None where no voxel is near.
    """
    reach = radius_mm * 1.3 + 2.5
    box = region.near(centre_mm - reach, centre_mm + reach)
    if box is None:
        return None
    axes = tuple(axis[part] for axis, part in zip(region.axes_mm, box, strict=True))
    stretch = random.uniform(0.85, 1.15, 3)
    z, y, x = np.ix_(*((axis - middle) / part for axis, middle, part in zip(axes, centre_mm, stretch, strict=True)))
    edge = (radius_mm - np.sqrt(z**2 + y**2 + x**2)).astype(np.float32)
    if lobulation > 0 and radius_mm > 2.0:
        bumps = smooth_noise(random, axes, 0.8 * radius_mm) + 0.45 * smooth_noise(random, axes, 0.35 * radius_mm)
        edge = edge + lobulation * radius_mm * bumps
    return box, edge


def paint_ball(
    region: LungRegion,
    centre_mm: np.ndarray,
    radius_mm: float,
    hu: float,
    random: np.random.Generator,
    *,
    lobulation: float = 0.0,
    solid: float = 1.0,
    core_hu: float | None = None,
    mask: np.ndarray,
) -> None:
    """Blend a ball into the lung; vessels brighter than it stay.

    Args:
        region: The lung.
        centre_mm: (z, y, x).
        radius_mm: Mean radius.
        hu: Of its tissue.
        random: Source of the shape.
        lobulation: Deviation of the surface in radii.
        solid: 0..1 of the air it displaces; below 1 it is a ground-glass nodule.
        core_hu: Of necrosis in its middle.
        mask: (z, y, x) bool of the region to add it to.
    """
    shape = ball(region, centre_mm, radius_mm, lobulation, random)
    if shape is None:
        return
    box, edge = shape
    soft = max(0.8, float(np.mean(region.spacing_mm[1:])))
    weight = np.clip(0.5 + edge / soft, 0.0, 1.0) * region.inside[box]
    tissue: np.ndarray | float = hu
    if core_hu is not None:
        tissue = hu + np.clip((edge - 0.35 * radius_mm) / (0.2 * radius_mm), 0.0, 1.0) * (core_hu - hu)
    region.hu[box] += solid * weight * (tissue - region.hu[box])
    mask[box] |= weight >= 0.5


def paint_spicules(
    region: LungRegion, centre_mm: np.ndarray, radius_mm: float, count: int, random: np.random.Generator
) -> None:
    """Draw fine strands that radiate from a mass into the lung."""
    for _ in range(count):
        heading = random.standard_normal(3)
        heading /= np.linalg.norm(heading)
        length = radius_mm * random.uniform(0.3, 0.8) + 4.0
        start = centre_mm + heading * radius_mm * 0.85
        bent = start + heading * length + random.normal(0, 0.12 * length, 3)
        width = min(2.2, 0.8 + 0.05 * radius_mm)
        paint_tube(region, start, bent, width, 20.0, tip_radius_mm=0.25, only_up=True)
