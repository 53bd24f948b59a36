"""Smooth implicit shapes: signed distances in mm, negative inside, and how they join."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = tuple[float, float, float]
FAR_MM = 150.0


def ellipsoid(z: np.ndarray, y: np.ndarray, x: np.ndarray, centre: Point, radii: Point) -> np.ndarray:
    """Distance to an ellipsoid, exact to first order at its surface."""
    a, b, c = ((axis - middle) / radius for axis, middle, radius in zip((z, y, x), centre, radii, strict=True))
    length = np.sqrt(a * a + b * b + c * c)
    a, b, c = a / radii[0], b / radii[1], c / radii[2]
    return length * (length - 1.0) / np.maximum(np.sqrt(a * a + b * b + c * c), 1e-6)


def capsule(
    z: np.ndarray, y: np.ndarray, x: np.ndarray, start: Point, end: Point, radius: float, end_radius: float
) -> np.ndarray:
    """Distance to a tube whose radius goes evenly from `radius` to `end_radius`."""
    dz, dy, dx = (b - a for a, b in zip(start, end, strict=True))
    z, y, x = z - start[0], y - start[1], x - start[2]
    along = np.clip((z * dz + y * dy + x * dx) / max(dz * dz + dy * dy + dx * dx, 1e-6), 0.0, 1.0)
    z, y, x = z - along * dz, y - along * dy, x - along * dx
    return np.sqrt(z * z + y * y + x * x) - (radius + (end_radius - radius) * along)


def smooth_min(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Union with a fillet (polynomial smooth minimum, I. Quilez)."""
    h = np.maximum(blend_mm - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h * (0.25 / blend_mm)


def true_distance(field: np.ndarray, step_mm: Sequence[float]) -> np.ndarray:
    """Divide by the length of the gradient, which makes any smooth field a distance near its zero.

    Args:
        field: (z, y, x) values, negative inside.
        step_mm: (z, y, x) grid step.
    """
    squared = np.zeros(field.shape, np.float32)
    for axis, step in enumerate(step_mm):
        if field.shape[axis] > 1:
            change = np.gradient(field, step, axis=axis)
            squared += change * change
    return np.clip(field / np.sqrt(np.maximum(squared, 0.04)), -FAR_MM, FAR_MM).astype(np.float32)
