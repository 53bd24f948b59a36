"""Polygons filled on a pixel grid, exactly at the pixels' centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VERTEX_DECIMALS = 4  # pixels; contours drawn through centres arrive with the noise of decimal strings


def fill_polygons(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of polygons.

    So polygons combine by exclusive or: one inside another is a hole, an island within the hole is filled again,
    and the doubled edge of a keyhole cancels. A centre on an edge counts as inside if the inside lies towards
    greater row and column, so polygons that share an edge neither overlap nor leave a gap.

    Args:
        polygons: (N, 2) vertices each, as (row, column) where (0, 0) is the centre of the first pixel; the last
            vertex is joined to the first. They are rounded to 1/10000 pixel.
        shape: Rows, columns. What lies outside is cut off.

    Returns:
        (rows, columns) bool.

    >>> square = np.array([(0.5, 0.5), (0.5, 3.5), (3.5, 3.5), (3.5, 0.5)])
    >>> int(fill_polygons([square], (5, 5)).sum())
    9
    """
    rows, columns = shape
    starts, ends = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for polygon in polygons:
        rounded = np.round(polygon, VERTEX_DECIMALS)
        starts.append(rounded)
        ends.append(np.roll(rounded, -1, axis=0))
    start, end = np.concatenate(starts), np.concatenate(ends)
    is_upward = (start[:, 0] > end[:, 0])[:, np.newaxis]  # both ways along an edge must give the same crossings
    top, bottom = np.where(is_upward, end, start), np.where(is_upward, start, end)
    first = np.clip(np.ceil(top[:, 0]), 0, rows).astype(int)
    after = np.clip(np.ceil(bottom[:, 0]), 0, rows).astype(int)
    counts = after - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (row - top[edge, 0]) / (bottom[edge, 0] - top[edge, 0])
    crossing = np.round(top[edge, 1] + share * (bottom[edge, 1] - top[edge, 1]), VERTEX_DECIMALS + 2)
    column = np.clip(np.ceil(crossing), 0, columns).astype(int)
    crossings = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1))
    inside = np.cumsum(crossings.reshape(rows, columns + 1), axis=1) % 2 == 1
    return inside[:, :columns]
