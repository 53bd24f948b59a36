"""The area of a mask's surface inside the cube between eight voxel centres, for each way they can be filled.

The surface is that of marching cubes, and its areas are those of DeepMind's surface-distance for every spacing. Their
table is worked out here instead of written down: the fewer of the eight voxels are cut off from the others wherever
a side of the cube leaves a choice, and a polygon that is not flat is cut into the triangles of largest area.

Source: Lorensen and Cline 1987, doi 10.1145/37402.37422; Nikolov et al. 2018, arXiv:1809.04430.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product

import numpy as np

CODES = 256
CORNERS = tuple(product((0, 1), repeat=3))  # (z, y, x) of the eight voxels; the first has the highest bit
WEIGHTS = {corner: 128 >> number for number, corner in enumerate(CORNERS)}
DECIMALS = 9  # areas that agree so far are the same

Corner = tuple[int, ...]
Edge = frozenset[Corner]  # between two voxels of which one is in the mask: the surface passes through its middle
Triangle = tuple[int, int, int]


def surfel_areas(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Surface area for each neighbour code.

    Args:
        spacing_mm: Of (z, y, x).

    Returns:
        (256,) float64 mm2. The code of a cube has 128 for the voxel at (z-1, y-1, x-1), 64 for (z-1, y-1, x), and so
        on to 1 for (z, y, x).

    >>> surfel_areas((1, 1, 1))[[0, 1, 15, 255]].round(4).tolist()
    [0.0, 0.2165, 1.0, 0.0]
    """
    z, y, x = spacing_mm
    return np.linalg.norm(_normals() * np.array([y * x, z * x, z * y]), axis=2).sum(axis=1)


@functools.cache
def _normals() -> np.ndarray:
    """(256, triangles, 3) normals of the triangles at a spacing of 1 mm, as long as their area; zeros fill up."""
    found = [[normal for polygon in _polygons(code) for normal in _cut(polygon)] for code in range(CODES)]
    normals = np.zeros((CODES, max(map(len, found)), 3))
    for code, some in enumerate(found):
        normals[code, : len(some)] = some or 0.0
    return normals


def _polygons(code: int) -> Iterator[list[Edge]]:
    """The closed lines in which the surface meets the sides of the cube."""
    inside = {corner for corner, weight in WEIGHTS.items() if code & weight}
    if len(inside) > len(CORNERS) // 2:
        inside = set(CORNERS) - inside
    neighbours: dict[Edge, list[Edge]] = {}
    for axis, side in product(range(3), (0, 1)):
        ring = [corner[:axis] + (side,) + corner[axis:] for corner in ((0, 0), (0, 1), (1, 1), (1, 0))]
        edges = [frozenset((ring[number - 1], ring[number])) for number in range(4)]  # edge n ends at corner n
        cut = [edge for edge in edges if len(edge & inside) == 1]
        if len(cut) == 4:  # two of its corners lie across: each is cut off by a line of its own
            lines = [(edges[number], edges[(number + 1) % 4]) for number in range(4) if ring[number] in inside]
        else:
            lines = [(cut[0], cut[1])] if cut else []
        for first, second in lines:
            neighbours.setdefault(first, []).append(second)
            neighbours.setdefault(second, []).append(first)
    while neighbours:
        edge: Edge | None = next(iter(neighbours))
        polygon = []
        while edge is not None:
            polygon.append(edge)
            edge = next((following for following in neighbours.pop(edge) if following in neighbours), None)
        yield polygon


def _cut(polygon: list[Edge]) -> np.ndarray:
    """(triangles, 3) normals of a polygon cut so that its area, then its largest triangle, is as large as can be."""
    points = np.array([np.mean(sorted(edge), axis=0) for edge in polygon])
    ways = [_triangle_normals(points, triangles) for triangles in _triangulations(0, len(points) - 1)]
    return max(ways, key=_areas)


def _triangle_normals(points: np.ndarray, triangles: list[Triangle]) -> np.ndarray:
    first, second, third = points[np.array(triangles)].swapaxes(0, 1)
    return np.cross(second - first, third - first) / 2


def _areas(normals: np.ndarray) -> tuple[float, float]:
    areas = np.linalg.norm(normals, axis=1)
    return round(float(areas.sum()), DECIMALS), round(float(areas.max()), DECIMALS)


def _triangulations(first: int, last: int) -> Iterator[list[Triangle]]:
    """Every way to cut the polygon of the corners from `first` to `last` into triangles."""
    if last - first < 2:
        yield []
    for middle in range(first + 1, last):
        for left in _triangulations(first, middle):
            for right in _triangulations(middle, last):
                yield [*left, *right, (first, middle, last)]
