"""Training slices of synthetic chests: grids, crops and lesions vary with the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datastore.phantom import chest_phantom
from infers.preprocess import Preprocessing
from trainers.augmentation import deform, draw_deformation
from trainers.dressing import dress
from trainers.looks import draw_looks
from trainers.slices import TrainingSlices, training_slices
from trainers.textures import axes

CIRCLE_SHARE = 0.1  # of the slices show a round field of view, with padding around it


@dataclass(frozen=True)
class PhantomPlan:
    """Which phantoms to render.

    Attributes:
        first_seed: Of the first phantom; the others count on from it.
        phantoms: How many.
        slices: Along z in each, over `height_mm` from neck to belly.
        height_mm: (lowest, highest) field of view along z.
        in_plane: (lowest, highest) pixels along y and x.
        width_mm: (lowest, highest) field of view along y and x.
        partial_share: Share of phantoms of which a random part of the slice is cut out.
        lesion_share: Share of phantoms with a dense lesion.
        thick_share: Share of phantoms of which each slice is the mean of three: partial volume, as at the domes.
    """

    first_seed: int
    phantoms: int
    slices: int = 36
    height_mm: tuple[float, float] = (300.0, 480.0)
    in_plane: tuple[int, int] = (110, 200)
    width_mm: tuple[float, float] = (300.0, 440.0)
    partial_share: float = 0.15
    lesion_share: float = 0.5
    thick_share: float = 0.4


def phantom_slices(plan: PhantomPlan, how: Preprocessing = Preprocessing()) -> Iterator[TrainingSlices]:
    """Render phantom after phantom; the same plan gives the same slices."""
    for seed in range(plan.first_seed, plan.first_seed + plan.phantoms):
        random = np.random.default_rng([seed, 1])
        size = int(random.integers(*plan.in_plane, endpoint=True))
        pixel_mm = random.uniform(*plan.width_mm) / size
        layers = 3 if random.random() < plan.thick_share else 1
        count = plan.slices * layers
        spacing_mm = random.uniform(*plan.height_mm) / count, pixel_mm, pixel_mm
        made = chest_phantom(seed, (count, size, size), spacing_mm, lesion=random.random() < plan.lesion_share)
        part = _random_part(size, random) if random.random() < plan.partial_share else np.s_[:, :, :]
        hu, labels = _thick(made.image.array[part], made.lungs.array[part], layers)
        yield training_slices(hu, labels, how)


def _random_part(size: int, random: np.random.Generator) -> tuple[slice, slice, slice]:
    """About a third of each slice."""
    top, left = (int(share * size) for share in random.uniform(0, 0.45, 2))
    height, width = (int(share * size) for share in random.uniform(0.45, 0.7, 2))
    return slice(None), slice(top, top + height), slice(left, left + width)


def _thick(hu: np.ndarray, labels: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Thick slices: the mean of `layers` thin ones; the label is the middle one's."""
    y, x = hu.shape[1:]
    thick = hu.reshape(-1, layers, y, x).mean(axis=1)
    return np.rint(thick).astype(np.int16), labels.reshape(-1, layers, y, x)[:, layers // 2]


def augment_phantom(
    image: np.ndarray, labels: np.ndarray, random: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Deform a phantom's slice and give it random looks; see `deform` for the shapes."""
    image, labels = deform(image, labels, draw_deformation(random), size)
    image = dress(image, labels, draw_looks(random, has_lung=bool(labels.any())))
    if random.random() < CIRCLE_SHARE:
        return round_view(image, labels, random.uniform(0.42, 0.62))
    return image, labels


def round_view(image: np.ndarray, labels: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Air and background beyond a circle, as scanners pad; `radius` in fractions of the slice's side."""
    y, x = axes(len(image))
    seen = y**2 + x**2 < radius**2
    return np.where(seen, image, np.float32(0)), np.where(seen, labels, np.uint8(0))
