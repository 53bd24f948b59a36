"""Bronchi, arteries and veins of the lungs: trees that fill a lobe, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MURRAY = 2.7
WALL_HU, BRONCHUS_AIR_HU, DARK_HU = 10.0, -960.0, -500.0


@dataclass(frozen=True, eq=False)
class Tree:
    """Tapered straight pieces in the scanner's mm.

    Attributes:
        start: (n, 3) ends nearer to the heart, (z, y, x).
        end: (n, 3) other ends.
        radius: (n,) at the start.
        end_radius: (n,) at the end.
    """

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    end_radius: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def grow(root: np.ndarray, ends: np.ndarray, tip_mm: float, random: np.random.Generator) -> Tree:
    """Grow a tree from a root through given points.

    Point after point joins where new length and the way to the root together are shortest (a balanced minimum
    spanning tree: Cuntz et al., PLoS Computational Biology 2010), which gives long vessels with side branches.
    Calibres follow the number of points served with Murray's law. In the lung's arteries 3.36 vessels follow upon one
    1.56 times as wide (Huang et al., J Appl Physiol 1996), which makes the exponent ln 3.36 / ln 1.56 = 2.7.

    Args:
        root: (3,) where the tree starts, (z, y, x) mm.
        ends: (n, 3) points to serve.
        tip_mm: Radius of the last vessels, which thin out to half of it.
        random: Source of the balance between new length and way.
    """
    points = np.concatenate([np.asarray(root, float).reshape(1, 3), np.asarray(ends, float).reshape(-1, 3)])
    count = len(points)
    balance = random.uniform(0.45, 0.75)
    parent = np.zeros(count, int)
    way = np.zeros(count)
    cost = np.full(count, np.inf)
    waiting = np.zeros(count)  # Infinite once a point has joined.
    order = [0]
    for _ in range(count - 1):
        newest = order[-1]
        waiting[newest] = np.inf
        apart = points - points[newest]
        length = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        offer = length + balance * (way[newest] + length)
        better = (offer < cost) & (waiting == 0)
        cost[better], parent[better] = offer[better], newest
        following = int((cost + waiting).argmin())
        way[following] = way[parent[following]] + float(np.linalg.norm(points[following] - points[parent[following]]))
        order.append(following)
    return _calibrate(points, parent, order, tip_mm)


def _calibrate(points: np.ndarray, parent: np.ndarray, order: list[int], tip_mm: float) -> Tree:
    """Smooth the vessels' courses and give each piece its calibre."""
    served = np.ones(len(points))
    for node in order[:0:-1]:
        served[parent[node]] += served[node]
    main = np.zeros(len(points), int)
    for node in sorted(order[1:], key=lambda node: served[node]):
        main[parent[node]] = node
    inner = np.flatnonzero((main > 0) & (np.arange(len(points)) > 0))
    for _ in range(3):
        points = points.copy()
        points[inner] = 0.4 * points[inner] + 0.3 * points[parent[inner]] + 0.3 * points[main[inner]]
    radius = tip_mm * served ** (1 / MURRAY)
    pieces = np.array(order[1:], int)
    before = parent[pieces]
    # A vessel goes on as wide as it came; a side branch starts a little wider than it will be.
    widest = np.where(main[before] == pieces, 1.6, 1.2) * radius[pieces]
    end_radius = np.where(served[pieces] > 1, radius[pieces], 0.5 * tip_mm)
    return Tree(points[before], points[pieces], np.minimum(radius[before], widest), end_radius)


def beside(tree: Tree, scale: float, least_mm: float, random: np.random.Generator) -> Tree:
    """The bronchi that run along the arteries down to a least radius of the artery."""
    kept = tree.radius >= least_mm
    start, end = tree.start[kept], tree.end[kept]
    radius, end_radius = tree.radius[kept], tree.end_radius[kept]
    # One direction for the whole tree keeps the pieces joined.
    offset = random.normal(size=3)
    offset /= np.linalg.norm(offset)
    apart = 1.05 * (1 + scale) + 0.35
    return Tree(
        start + offset * (apart * radius)[:, None],
        end + offset * (apart * end_radius)[:, None],
        scale * radius,
        scale * end_radius,
    )


def paint_hollow(
    hu: np.ndarray,
    within: np.ndarray | None,
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray],
    tree: Tree,
    wall: float,
    wall_hu: float = WALL_HU,
) -> None:
    """Draw tubes with air inside: all walls first, so that none closes the lumen of the next piece.

    Args:
        hu: (z, y, x) float32, changed in place.
        within: (z, y, x) bool: where it may be drawn; None for everywhere.
        axes_mm: (z, y, x) positions of the voxels, evenly spaced.
        tree: The lumen.
        wall: Thickness of the wall as a share of the lumen's radius.
        wall_hu: Of the wall.
    """
    outside = Tree(tree.start, tree.end, tree.radius * (1 + wall), tree.end_radius * (1 + wall))
    paint(hu, within, axes_mm, outside, wall_hu)
    paint(hu, within, axes_mm, tree, BRONCHUS_AIR_HU)


def paint(
    hu: np.ndarray,
    within: np.ndarray | None,
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray],
    tree: Tree,
    value_hu: float,
    *,
    mask: np.ndarray | None = None,
) -> None:
    """Draw a tree with soft edges; voxels it only touches get their share of it.

    Args:
        hu: (z, y, x) float32, changed in place: raised towards a tissue, lowered towards air.
        within: (z, y, x) bool: where it may be drawn; None for everywhere.
        axes_mm: (z, y, x) positions of the voxels, evenly spaced.
        tree: What to draw.
        value_hu: Of the tree.
        mask: (z, y, x) bool, set where more than half of a voxel is the tree's.
    """
    origin = np.array([axis[0] for axis in axes_mm], float)
    step = np.array([axis[1] - axis[0] if len(axis) > 1 else 1.0 for axis in axes_mm], float)
    voxel = float(max(step[1], step[2]))
    reach = (np.maximum(tree.radius, tree.end_radius) + 0.5 * voxel)[:, None]
    low = np.ceil((np.minimum(tree.start, tree.end) - reach - origin) / step).astype(int)
    high = np.floor((np.maximum(tree.start, tree.end) + reach - origin) / step).astype(int) + 1
    low, high = np.clip(low, 0, hu.shape), np.clip(high, 0, hu.shape)
    z_mm, y_mm, x_mm = (axis.astype(np.float32) for axis in axes_mm)
    way = (tree.end - tree.start).astype(np.float32)
    squared = np.maximum((way * way).sum(axis=1), 1e-4)
    limit = np.minimum if value_hu < DARK_HU else np.maximum
    for i in np.flatnonzero((high > low).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[i], high[i], strict=True))
        z = (z_mm[box[0]] - np.float32(tree.start[i, 0]))[:, None, None]
        y = (y_mm[box[1]] - np.float32(tree.start[i, 1]))[:, None]
        x = x_mm[box[2]] - np.float32(tree.start[i, 2])
        dz, dy, dx = way[i]
        along = z * dz + (y * dy + x * dx)
        along *= np.float32(1 / squared[i])
        # Faster on small arrays than np.clip.
        np.minimum(np.maximum(along, 0, out=along), 1, out=along)
        distance = (z - along * dz) ** 2
        distance += (y - along * dy) ** 2
        distance += (x - along * dx) ** 2
        np.sqrt(distance, out=distance)
        share = along * np.float32(tree.end_radius[i] - tree.radius[i]) + np.float32(tree.radius[i])
        share -= distance
        share *= np.float32(1 / voxel)
        share += 0.5
        np.minimum(np.maximum(share, 0, out=share), 1, out=share)
        # What is thinner than a voxel fills only a part of it.
        share *= np.float32(min(1.0, 1.1 * (tree.radius[i] + tree.end_radius[i]) / voxel))
        if within is not None:
            share *= within[box]
        target = hu[box]
        target += share * limit(value_hu - target, 0)
        if mask is not None:
            mask[box] |= share > 0.5
