"""Smooth random fields that give diseases their irregular outlines."""

from __future__ import annotations

import numpy as np


def smooth_noise(random: np.random.Generator, axes_mm: tuple[np.ndarray, ...], scale_mm: float) -> np.ndarray:
    """A random field of mean 0 and about unit deviation that varies over a length.

    Random numbers on a lattice, interpolated by cubic B-splines axis by axis.

    Args:
        random: Source of the lattice.
        axes_mm: Positions along z, y and x.
        scale_mm: Distance of the lattice points.

    Returns:
        (z, y, x) float32.
    """
    weights = [_splines(axis, scale_mm) for axis in axes_mm]
    field = random.standard_normal(tuple(weight.shape[1] for weight in weights), dtype=np.float32)
    for weight in weights:
        field = np.tensordot(field, weight, (0, 1))
    return field / 0.33


def fractal_noise(random: np.random.Generator, axes_mm: tuple[np.ndarray, ...], scale_mm: float) -> np.ndarray:
    """Smooth noise with two finer octaves on top, (z, y, x) float32 of about unit deviation."""
    octaves = [smooth_noise(random, axes_mm, scale_mm / 2**step) * 0.55**step for step in range(3)]
    return (octaves[0] + octaves[1] + octaves[2]) / 1.18


def _splines(axis_mm: np.ndarray, scale_mm: float) -> np.ndarray:
    """(n, lattice) float32 weights of the uniform cubic B-spline."""
    place = (axis_mm - axis_mm[0]) / scale_mm
    count = int(place[-1]) + 4
    away = np.abs(place[:, None] - (np.arange(count)[None, :] - 1))
    inner = 2 / 3 - away**2 + away**3 / 2
    outer = np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, inner, outer).astype(np.float32)
