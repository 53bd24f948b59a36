"""Training slices: volumes and their masks as the network will see them, and sets of many volumes' slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from infers.preprocess import Preprocessing, preprocess

SLICES_VERSION = 1
"""Of what becomes of a volume here and in `preprocess`: another number, and no cache made before is used any more."""
BLOCK = 32  # slices that are preprocessed at once, so that a long scan needs little more memory than its voxels


@dataclass(frozen=True, eq=False)
class TrainingSlices:
    """Slices of one volume, ready for the network, and their truth.

    Attributes:
        images: (slices, size, size) float16 in 0..1; the window of `Preprocessing`.
        labels: (slices, size, size) uint8: 0 background, 1 right lung, 2 left lung.
        has_lung: (slices,) bool: whether any lung is in the slice.
    """

    images: np.ndarray
    labels: np.ndarray
    has_lung: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def copy_slice(self, index: int, image: np.ndarray, labels: np.ndarray) -> None:
        """Copy a slice into (size, size) float32 and (size, size) uint8."""
        np.copyto(image, self.images[index])
        np.copyto(labels, self.labels[index])


@dataclass(frozen=True, eq=False)
class VolumeSlices:
    """A volume's place in a set.

    Attributes:
        slices: Of the volume.
        patient: Key of the patient, who may have several volumes.
        groups: Pathologies or cohort, among which batches are fair; none is a group of its own.
        negatives_only: Whether its slices without lung alone are learned from, as of a bootstrap cohort.
    """

    slices: TrainingSlices
    patient: str
    groups: tuple[str, ...] = ()
    negatives_only: bool = False


class SliceSet:
    """The slices of many volumes under one numbering, in the order of the volumes; it holds no pixels.

    Args:
        volumes: At least one, with slices of one size.

    Raises:
        ValueError: If there are no volumes, or sizes differ.
    """

    def __init__(self, volumes: Sequence[VolumeSlices]) -> None:
        if not volumes:
            raise ValueError("there are no training slices")
        self.volumes = tuple(volumes)
        self.size = int(volumes[0].slices.images.shape[-1])
        for volume in volumes:
            if volume.slices.images.shape[1:] != (self.size, self.size):
                raise ValueError(
                    f"expected slices of {self.size} x {self.size} as those of the first volume, got "
                    f"{volume.slices.images.shape[1:]} of patient {volume.patient}"
                )
        self.first = np.cumsum([0, *(len(volume.slices) for volume in volumes)])
        """(volumes + 1,) number of each volume's first slice, and of the slice beyond the last."""
        self.has_lung = np.concatenate([volume.slices.has_lung for volume in volumes])

    def __len__(self) -> int:
        return int(self.first[-1])

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy slices out of their volumes.

        Args:
            indices: k numbers of slices, in any order.

        Returns:
            (k, size, size) float32 images in 0..1 and (k, size, size) uint8 labels.

        Raises:
            IndexError: If there is no slice of such a number.
        """
        images = np.empty((len(indices), self.size, self.size), np.float32)
        labels = np.empty(images.shape, np.uint8)
        for index, image, label in zip(indices, images, labels, strict=True):
            if not 0 <= index < len(self):
                raise IndexError(f"expected the number of one of {len(self)} slices, got {index}")
            place = int(np.searchsorted(self.first, index, side="right")) - 1
            self.volumes[place].slices.copy_slice(int(index - self.first[place]), image, label)
        return images, labels


def training_slices(hu: np.ndarray, labels: np.ndarray, how: Preprocessing = Preprocessing()) -> TrainingSlices:
    """Preprocess a volume as inference does, and its mask by the same crops with nearest neighbour.

    Args:
        hu: (slices, y, x) int16 Hounsfield units along LPS.
        labels: (slices, y, x) uint8 on the same grid.
        how: Window and size.

    Raises:
        ValueError: If the mask is not on the grid of the image, or not uint8.

    Source: Hofmanninger et al. 2020, section II-B.
    """
    _check_mask(hu, labels)
    network_input = preprocess(hu, how)
    cropped = np.zeros(network_input.images.shape, np.uint8)
    for index, (top, left, bottom, right) in enumerate(network_input.boxes):
        crop = labels[index, top:bottom, left:right]
        if crop.any():
            cropped[index] = ndimage.zoom(crop, np.array(cropped.shape[1:]) / np.array(crop.shape), order=0)
    images = network_input.images.astype(np.float16)
    return TrainingSlices(images, cropped, cropped.any(axis=(1, 2)))


def slices_in_blocks(hu: np.ndarray, labels: np.ndarray, how: Preprocessing) -> Iterator[TrainingSlices]:
    """The `training_slices` of a volume, some at a time."""
    _check_mask(hu, labels)
    for start in range(0, len(hu), BLOCK):
        yield training_slices(hu[start : start + BLOCK], labels[start : start + BLOCK], how)


def _check_mask(hu: np.ndarray, labels: np.ndarray) -> None:
    if labels.shape != hu.shape:
        raise ValueError(f"mask grid {labels.shape} does not match image {hu.shape}")
    if labels.dtype != np.uint8:
        raise ValueError(f"expected labels as uint8, got {labels.dtype}")
