"""Random rotation, smooth elastic deformation and Gaussian noise of whole minibatches (Hofmanninger et al. 2020, II-B).

What is random is drawn first, into a value; applying that value is deterministic. Rotation and deformation are one map,
so that each slice is resampled once, on the device that it is on; image and labels share the map. Nothing is ever
mirrored: right and left lung would have to change places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BatchAugment = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
"""Takes (n, 1, y, x) float32 images in 0..1, (n, y, x) labels and what is random; gives both anew, maybe smaller."""
SliceAugment = Callable[[np.ndarray, np.ndarray, np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Takes (y, x) image and labels, what is random and the size wanted; gives (size, size) float32 and uint8."""

SMOOTHNESS_PER_DISPLACEMENT = 4.0  # below, neighbouring places may change their order: the slice folds


@dataclass(frozen=True)
class AugmentationLimits:
    """How far augmentation goes; what is drawn is uniform between nothing and that.

    Attributes:
        rotation_degrees: Largest angle to either side.
        displacement_share: Highest standard deviation of the elastic displacements, as a share of the slice's side.
        smoothness_share: Standard deviation of the Gaussian that smooths them, as a share of the slice's side.
        noise_hu: Highest standard deviation of the noise.
        window_hu: The Hounsfield units that are 0 and 1 in the images; as `Preprocessing` has them.
    """

    rotation_degrees: float = 16.0
    displacement_share: float = 0.02
    smoothness_share: float = 0.1
    noise_hu: float = 40.0
    window_hu: tuple[int, int] = (-1024, 600)

    def __post_init__(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ValueError: If a limit is negative, the window empty, or displacements so rough that slices would fold.
        """
        for name in ("rotation_degrees", "displacement_share", "noise_hu"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 < self.smoothness_share <= 1:
            raise ValueError(f"smoothness_share: expected more than 0 and at most 1, got {self.smoothness_share}")
        if self.displacement_share * SMOOTHNESS_PER_DISPLACEMENT > self.smoothness_share:
            raise ValueError(
                f"displacement_share: expected at most {self.smoothness_share / SMOOTHNESS_PER_DISPLACEMENT:g}, a "
                f"quarter of smoothness_share, beyond which slices fold; got {self.displacement_share:g}"
            )
        low, high = self.window_hu
        if low >= high:
            raise ValueError(f"window_hu: expected the lower end first, got {low} and {high}")


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What is done to the slices of one minibatch.

    Attributes:
        turns: (n,) radians; above 0, what is shown turns from y to x.
        displacements: (n, 2, m, m) white noise, of the x shifts and the y shifts, by y and x: a Gaussian smooths it to
            shifts of the same standard deviation, as shares of the slice's side.
        smoothness_share: Standard deviation of that Gaussian, as a share of the slice's side.
        noise: (n,) standard deviations of the noise, as shares of the window.
        noise_seed: Of the noise.
    """

    turns: Tensor
    displacements: Tensor
    smoothness_share: float
    noise: Tensor
    noise_seed: int

    def __len__(self) -> int:
        return len(self.turns)


def draw_augmentation(
    count: int, random: np.random.Generator, limits: AugmentationLimits = AugmentationLimits()
) -> Augmentation:
    """Draw what is done to so many slices, each one's apart from the others'."""
    low, high = limits.window_hu
    most = math.radians(limits.rotation_degrees)
    places = len(_centres(limits.smoothness_share))
    spread = random.uniform(0, limits.displacement_share, (count, 1, 1, 1)).astype(np.float32)
    return Augmentation(
        turns=torch.from_numpy(random.uniform(-most, most, count).astype(np.float32)),
        displacements=torch.from_numpy(spread * random.standard_normal((count, 2, places, places), dtype=np.float32)),
        smoothness_share=limits.smoothness_share,
        noise=torch.from_numpy(random.uniform(0, limits.noise_hu / (high - low), count).astype(np.float32)),
        noise_seed=int(random.integers(2**63)),
    )


@torch.no_grad()
def augment(images: Tensor, labels: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Turn and deform, images bilinearly and labels by nearest neighbour, then add noise to the images.

    Air and background come in from outside. On a CPU with one thread, the same augmentation gives the same bits.

    Args:
        images: (n, 1, size, size) float32 in 0..1.
        labels: (n, size, size) of whole numbers from 0 to 255, of any type, on the same device.
        augmentation: From `draw_augmentation`, of n slices.

    Returns:
        New tensors of the same shapes and types, on the same device.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    count, size = len(augmentation), images.shape[-1]
    if images.shape != (count, 1, size, size) or labels.shape != (count, size, size):
        raise ValueError(
            f"expected images ({count}, 1, size, size) and labels ({count}, size, size) for {count} augmentations, "
            f"got {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    places = sampling_places(augmentation, size, images.device)
    moved = _sampled(images, places, "bilinear")
    moved_labels = _sampled(labels[:, None], places, "nearest")[:, 0].to(labels.dtype)
    generator = torch.Generator(images.device).manual_seed(augmentation.noise_seed)
    noise = torch.empty_like(moved).normal_(generator=generator)
    moved.addcmul_(noise, augmentation.noise.to(images.device).view(-1, 1, 1, 1)).clamp_(0, 1)
    return moved, moved_labels


def sampling_places(augmentation: Augmentation, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Where each pixel of the new slices lies in the old ones.

    The field is smoothed where it is needed alone: white noise on a grid as coarse as the Gaussian is wide, times the
    Gaussian along y and along x. That is two products of small matrices.

    Returns:
        (n, size, size, 2) float32 x and y, from -1 to 1 between the outer edges of the outermost pixels.

    Source: IMPACT D2.3.1 (2019), section 13.2: smooth deformation fields by Gaussian smoothing of both displacements.
    """
    along = (2 * torch.arange(size, device=device, dtype=torch.float32) + 1) / size - 1
    turns = augmentation.turns.to(device).view(-1, 1, 1)
    x, y = along.view(1, 1, -1), along.view(1, -1, 1)
    cosines, sines = torch.cos(turns), torch.sin(turns)
    places = torch.stack([cosines * x - sines * y, sines * x + cosines * y], dim=1)
    gaussians = torch.from_numpy(_gaussians(size, augmentation.smoothness_share)).to(device)
    noise = augmentation.displacements.to(device).flatten(0, 1)
    with torch.autocast(places.device.type, enabled=False):  # places in half precision would be off by whole pixels
        sides = gaussians.expand(len(noise), -1, -1)
        shifted = torch.baddbmm(places.flatten(0, 1), sides @ noise, sides.transpose(1, 2), alpha=2)  # a side is 2 long
    return shifted.view_as(places).permute(0, 2, 3, 1)


def random_augmentation(limits: AugmentationLimits = AugmentationLimits()) -> BatchAugment:
    """What training does to each of its minibatches: draw within the limits, and apply."""
    return partial(_augment_randomly, limits)


def each_slice(augment_slice: SliceAugment, size: int) -> BatchAugment:
    """A minibatch's augmentation that is one of single slices, each with a generator of its own, on the CPU."""
    return partial(_augment_each_slice, augment_slice, size)


def _augment_randomly(
    limits: AugmentationLimits, images: Tensor, labels: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    return augment(images, labels, draw_augmentation(len(images), random, limits))


def _augment_each_slice(
    augment_slice: SliceAugment, size: int, images: Tensor, labels: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    seeds = random.integers(2**63, size=len(images))
    given = zip(images[:, 0].cpu().numpy(), labels.cpu().numpy(), seeds, strict=True)
    made = [augment_slice(image, label, np.random.default_rng(seed), size) for image, label, seed in given]
    new_images = torch.from_numpy(np.stack([image for image, _ in made])[:, np.newaxis])
    new_labels = torch.from_numpy(np.stack([label for _, label in made]))
    return new_images.to(images), new_labels.to(labels)


def _sampled(values: Tensor, places: Tensor, mode: str) -> Tensor:
    """(n, 1, size, size) values at (n, size, size, 2) places, as float32; 0 outside.

    A CPU goes slice by slice, and copies each first: sampling jumps between the rows of what is then in its nearest
    cache, which makes it twice to three times as fast.
    """
    at_once = torch.get_num_threads() if values.device.type == "cpu" else len(values)
    parts = zip(values.split(at_once), places.split(at_once), strict=True)
    return torch.cat(
        [
            functional.grid_sample(
                part.to(torch.float32, copy=True), where, mode=mode, padding_mode="zeros", align_corners=False
            )
            for part, where in parts
        ]
    )


def _centres(smoothness_share: float) -> np.ndarray:
    """Where the noise lies along a side, as shares of it: a Gaussian's standard deviation apart."""
    return smoothness_share * np.arange(math.ceil(1 / smoothness_share) + 1)


def _gaussians(size: int, smoothness_share: float) -> np.ndarray:
    """(size, places) float32 weights of the noise at each pixel, which keep the noise's standard deviation."""
    pixels = (np.arange(size) + 0.5) / size
    weights = np.exp(-0.5 * ((pixels[:, np.newaxis] - _centres(smoothness_share)) / smoothness_share) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
