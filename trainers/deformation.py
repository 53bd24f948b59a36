"""Random rotation, stretch, bulge and smooth elastic deformation of single slices, for synthetic patients.

What is random is drawn first, into a value; applying that value is deterministic. Image and labels share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Deformation:
    """A smooth map from places in the new slice to places in the old one.

    Places are (x, y), -1 to 1 between the centres of the outermost pixels.

    Attributes:
        matrix: (2, 3) affine map, of (x, y, 1).
        bulge: Above 0 spreads what is in the middle, below 0 draws it together; the rim stays.
        displacements: Each (2, n, n): (x, y) shifts on a grid of n x n places, smooth between them.
    """

    matrix: np.ndarray
    bulge: float
    displacements: tuple[np.ndarray, ...]


def draw_deformation(random: np.random.Generator) -> Deformation:
    """Draw a rotation, stretch, shear, shift, bulge and two elastic fields, a smooth one and a finer one.

    Never a mirror image: right and left would have to change places.
    """
    angle = np.deg2rad(random.normal(0, 7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    zoom = np.exp(random.uniform(np.log(0.75), np.log(1.5)))  # of the field of view: above 1 the body is smaller
    stretch = zoom * np.exp(random.normal(0, 0.08, 2))
    linear = turn @ np.array([[stretch[0], random.normal(0, 0.06)], [0.0, stretch[1]]])
    shift = random.normal(0, 0.06, 2)
    smooth = random.normal(0, random.uniform(0, 0.07), (2, 5, 5))
    fine = random.normal(0, random.uniform(0, 0.015), (2, 14, 14))
    return Deformation(
        matrix=np.hstack([linear, shift[:, np.newaxis]]).astype(np.float32),
        bulge=float(random.uniform(-0.35, 0.2)),
        displacements=(smooth.astype(np.float32), fine.astype(np.float32)),
    )


def deform(image: np.ndarray, labels: np.ndarray, deformation: Deformation, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample a slice bilinearly and its labels by nearest neighbour; air and background come in from outside.

    Args:
        image: (y, x) float in 0..1.
        labels: (y, x) uint8.
        deformation: From `draw_deformation`.
        size: Pixels along each side of what comes out.

    Returns:
        (size, size) float32 and (size, size) uint8.
    """
    steps = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.from_numpy(deformation.matrix).T
    radius_squared = (places**2).sum(dim=-1, keepdim=True).clamp(max=1.0)
    places = places * (1 - deformation.bulge * (1 - radius_squared))
    for shifts in deformation.displacements:
        places = places + _smooth(shifts, size).permute(1, 2, 0)
    moved = _sample(image.astype(np.float32), places, "bilinear")
    return moved, _sample(labels.astype(np.float32), places, "nearest").astype(np.uint8)


def _smooth(values: np.ndarray, size: int) -> torch.Tensor:
    """(channels, n, n) to (channels, size, size), by bicubic interpolation."""
    grid = torch.from_numpy(values)[np.newaxis]
    return functional.interpolate(grid, size=(size, size), mode="bicubic", align_corners=True)[0]


def _sample(values: np.ndarray, places: torch.Tensor, mode: str) -> np.ndarray:
    """(y, x) at (size, size, 2) places; 0 outside."""
    grid = torch.from_numpy(values)[np.newaxis, np.newaxis]
    return functional.grid_sample(grid, places[np.newaxis], mode=mode, align_corners=True)[0, 0].numpy()
