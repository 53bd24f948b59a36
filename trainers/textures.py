"""Shapes and smooth random fields that synthetic slices are painted with."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from trainers.looks import Ellipse

TEXTURE_GRIDS = 4, 8, 16, 32, 64, 128  # places along each side of the slice: from cloud to grain


def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, 1) y and (1, size) x of the pixels in fractions of the slice's side, from its centre."""
    places = ((np.arange(size, dtype=np.float32) + 0.5) / size) - np.float32(0.5)
    return places[:, np.newaxis], places[np.newaxis, :]


def inside(ellipse: Ellipse, size: int) -> np.ndarray:
    """(size, size) bool: the pixels in an ellipse."""
    y, x = axes(size)
    y, x = y - np.float32(ellipse.y), x - np.float32(ellipse.x)
    cosine, sine = np.float32(np.cos(ellipse.turn)), np.float32(np.sin(ellipse.turn))
    down, across = (cosine * y - sine * x) / ellipse.half_height, (sine * y + cosine * x) / ellipse.half_width
    return down**2 + across**2 < 1


def smooth_field(random: np.random.Generator, grid: int | tuple[int, int], size: int) -> np.ndarray:
    """Smooth noise of standard deviation near 1, (size, size) float32; `grid` places along each side, or (y, x)."""
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    coarse = torch.from_numpy(random.standard_normal((1, 1, rows, columns), dtype=np.float32) * np.float32(1.3))
    return functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)[0, 0].numpy()


def texture(random: np.random.Generator, size: int) -> np.ndarray:
    """Noise on two random scales, (size, size) float32."""
    first, second = (smooth_field(random, int(random.choice(TEXTURE_GRIDS)), size) for _ in range(2))
    return first + np.float32(0.5) * second


def blobs(random: np.random.Generator, where: np.ndarray, share: float) -> np.ndarray:
    """About that share of a region, in a few smooth pieces."""
    places = smooth_field(random, int(random.choice((4, 6, 10, 20))), len(where))
    return where & (places > np.quantile(places[where], 1 - share))
