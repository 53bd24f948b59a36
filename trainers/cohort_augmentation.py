"""Augmentation of synthetic cohorts, whose looks are realistic already: shape, part of a slice, pixel size, tone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from trainers.deformation import Deformation, deform, draw_deformation
from trainers.dressing import dress
from trainers.looks import draw_gentle_looks, draw_wide_looks
from trainers.textures import axes

PART_SHARE, COARSE_SHARE, CIRCLE_SHARE, WIDE_SHARE = 0.15, 0.15, 0.06, 0.8


def augment_cohort(
    image: np.ndarray, labels: np.ndarray, random: np.random.Generator, size: int, *, ill: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Deform a slice of a synthetic patient and vary its looks, mostly far beyond what is natural.

    With natural looks alone, a network lost dark lung and found lung in table foam; see `deform` for the shapes. Where
    not `ill`, no lung gets dense areas, fluid or haze that it did not have: for cohorts whose lungs are all healthy.
    """
    deformation = draw_deformation(random)
    if random.random() < PART_SHARE:
        deformation = part_of(deformation, random)
    image, labels = deform(image, labels, deformation, size)
    if random.random() < COARSE_SHARE:
        image = coarse(image, random.uniform(1.3, 4.0) * size / 256)
    wide = random.random() < WIDE_SHARE
    looks = draw_wide_looks(random, has_lung=bool(labels.any())) if wide else draw_gentle_looks(random)
    if not ill:
        looks = replace(looks, dense_share=(0.0, 0.0), layer_share=(0.0, 0.0), hazy_share=0.0)
    image = dress(image, labels, looks)
    if random.random() < CIRCLE_SHARE:
        return round_view(image, labels, random.uniform(0.42, 0.62))
    return image, labels


def part_of(deformation: Deformation, random: np.random.Generator) -> Deformation:
    """Show a part of the slice instead: one lung, or a piece of it, as where the field of view is small."""
    wide, high = random.uniform(0.35, 0.75), random.uniform(0.5, 1.0)
    x, y = random.uniform(-1, 1, 2) * (1 - wide, 1 - high)
    matrix = np.array([[wide, random.normal(0, 0.04), x], [random.normal(0, 0.04), high, y]])
    return replace(deformation, matrix=matrix.astype(np.float32), bulge=0.0)


def coarse(image: np.ndarray, pixels: float) -> np.ndarray:
    """Mean over squares of about so many pixels, interpolated again, as of a scan with a small matrix.

    Args:
        image: (size, size) float32.
        pixels: Side of the squares; below 1 nothing happens.
    """
    if pixels <= 1:
        return image
    fine = torch.from_numpy(image)[np.newaxis, np.newaxis]
    small = functional.interpolate(fine, size=max(8, round(len(image) / pixels)), mode="area")
    return functional.interpolate(small, size=len(image), mode="bilinear")[0, 0].numpy()


def round_view(image: np.ndarray, labels: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Air and background beyond a circle, as scanners pad; `radius` in fractions of the slice's side."""
    y, x = axes(len(image))
    seen = y**2 + x**2 < radius**2
    return np.where(seen, image, np.float32(0)), np.where(seen, labels, np.uint8(0))
