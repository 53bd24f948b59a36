"""Branching tubes in a lung: the bronchi that consolidation, fibrosis and bronchiectasis make visible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.lesions.region import LungRegion


@dataclass(frozen=True, eq=False)
class Branches:
    """Pieces of tubes.

    Attributes:
        start_mm: (n, 3) (z, y, x) nearer ends.
        end_mm: (n, 3) farther ends.
        reach_mm: (n,) way from the hilum to the middle of the piece.
        left_mm: (n,) longest way from the piece on to a tip.
    """

    start_mm: np.ndarray
    end_mm: np.ndarray
    reach_mm: np.ndarray
    left_mm: np.ndarray


def grow_branches(
    region: LungRegion, within: np.ndarray, count: int, random: np.random.Generator, *, margin_mm: float = 8.0
) -> Branches:
    """Grow a tree from the hilum to random places: each joins the tree where it is nearest, slightly bent.

    Args:
        region: The lung.
        within: Coarse bool array that the tips lie in.
        count: Number of tips.
        random: Source of places and bends.
        margin_mm: Least distance of a tip to the pleura.
    """
    tips = region.places(within & (region.depth_mm > margin_mm), count, random)
    tips = tips[np.argsort(((tips - region.hilum_mm) ** 2).sum(1))]
    nodes = [region.hilum_mm]
    away = [0.0]
    parents = [-1]
    for tip in tips:
        known = np.array(nodes)
        gaps = np.sqrt(((known - tip) ** 2).sum(1))
        nearest = int(np.argmin(gaps + 0.25 * np.array(away)))
        way = tip - known[nearest]
        length = float(np.linalg.norm(way))
        steps = max(1, round(length / 9.0))
        bend = random.normal(0, 0.07 * length, 3)
        origin, before = known[nearest], nearest
        for step in range(1, steps + 1):
            part = step / steps
            nodes.append(origin + way * part + bend * np.sin(np.pi * part))
            away.append(away[nearest] + length * part)
            parents.append(before)
            before = len(nodes) - 1
    points, ways = np.array(nodes), np.array(away)
    left = np.zeros(len(nodes))
    for child in range(len(nodes) - 1, 0, -1):
        step_mm = ways[child] - ways[parents[child]]
        left[parents[child]] = max(left[parents[child]], left[child] + step_mm)
    ends = np.arange(1, len(nodes))
    starts = np.array(parents[1:], int)
    return Branches(points[starts], points[ends], (ways[starts] + ways[ends]) / 2, left[starts])


def paint_tube(
    region: LungRegion,
    start_mm: np.ndarray,
    end_mm: np.ndarray,
    radius_mm: float,
    hu: float,
    *,
    tip_radius_mm: float | None = None,
    within: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    only_up: bool = False,
) -> None:
    """Blend one round tube into the lung.

    Args:
        region: The lung.
        start_mm: (z, y, x) of one end.
        end_mm: (z, y, x) of the other.
        radius_mm: Radius at the start.
        hu: What the tube is filled with.
        tip_radius_mm: Radius at the end; None for the same.
        within: (z, y, x) bool of the region: where to paint.
        mask: (z, y, x) bool to add the tube to.
        only_up: Whether voxels never become darker.
    """
    tip = radius_mm if tip_radius_mm is None else tip_radius_mm
    reach = max(radius_mm, tip) + max(region.spacing_mm)
    box = region.near(np.minimum(start_mm, end_mm) - reach, np.maximum(start_mm, end_mm) + reach)
    if box is None:
        return
    z, y, x = np.ix_(*(axis[part] for axis, part in zip(region.axes_mm, box, strict=True)))
    way = (end_mm - start_mm).astype(np.float32)
    z, y, x = z - np.float32(start_mm[0]), y - np.float32(start_mm[1]), x - np.float32(start_mm[2])
    along = np.clip((z * way[0] + y * way[1] + x * way[2]) / max(float(way @ way), 1e-6), 0.0, 1.0)
    away = np.sqrt((z - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (x - along * way[2]) ** 2)
    radius = radius_mm + (tip - radius_mm) * along
    # A tube thinner than a voxel fills a part of it.
    soft = max(float(np.mean(region.spacing_mm[1:])), 0.5)
    weight = np.clip((radius - away) / soft + 0.5, 0.0, 1.0) * np.minimum(1.0, 2 * radius / soft)
    weight *= region.inside[box] if within is None else within[box] & region.inside[box]
    before = region.hu[box]
    change = weight * (hu - before)
    region.hu[box] = before + (np.maximum(change, 0.0) if only_up else change)
    if mask is not None:
        mask[box] |= weight >= 0.5


def paint_bronchi(
    region: LungRegion,
    branches: Branches,
    radius_mm: tuple[float, float],
    *,
    wall_mm: float = 0.0,
    wall_hu: float = 30.0,
    lumen_hu: float = -980.0,
    within: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> None:
    """Paint a tree of bronchi that taper to their tips, walls first so that the lumen stays open at forks.

    Args:
        region: The lung.
        branches: The tree.
        radius_mm: Radius at the tips, and what is added for every 100 mm from a tip.
        wall_mm: Thickness of the wall, 0 for none.
        wall_hu: Tissue of the wall.
        lumen_hu: Air, or mucus.
        within: (z, y, x) bool of the region: where to paint.
        mask: (z, y, x) bool to add bronchi with their walls to.
    """
    radii = radius_mm[0] + radius_mm[1] * branches.left_mm / 100.0
    layers = [(wall_mm, wall_hu, mask)] if wall_mm > 0 else []
    layers.append((0.0, lumen_hu, mask))
    for extra, hu, into in layers:
        for start, end, radius in zip(branches.start_mm, branches.end_mm, radii, strict=True):
            paint_tube(region, start, end, radius + extra, hu, within=within, mask=into, only_up=extra > 0)
