"""Training slices: volumes and their masks as the network will see them, kept in memory-mapped files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from datastore.atomic import write_bytes
from infers.preprocess import Preprocessing, preprocess

IMAGES_FILE, LABELS_FILE, PROVENANCE_FILE = "images.npy", "labels.npy", "slices.json"


@dataclass(frozen=True, eq=False)
class TrainingSlices:
    """Slices ready for the network and their truth.

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


def training_slices(hu: np.ndarray, labels: np.ndarray, how: Preprocessing = Preprocessing()) -> TrainingSlices:
    """Preprocess a volume as inference does, and its mask by the same crops with nearest neighbour.

    Args:
        hu: (slices, y, x) int16 Hounsfield units along LPS.
        labels: (slices, y, x) uint8 on the same grid.
        how: Window and size.

    Raises:
        ValueError: If the mask is not on the grid of the image.

    Source: Hofmanninger et al. 2020, section II-B.
    """
    if labels.shape != hu.shape:
        raise ValueError(f"mask grid {labels.shape} does not match image {hu.shape}")
    network_input = preprocess(hu, how)
    cropped = np.zeros(network_input.images.shape, np.uint8)
    for index, (top, left, bottom, right) in enumerate(network_input.boxes):
        crop = labels[index, top:bottom, left:right]
        if crop.any():
            cropped[index] = ndimage.zoom(crop, np.array(cropped.shape[1:]) / np.array(crop.shape), order=0)
    images = network_input.images.astype(np.float16)
    return TrainingSlices(images, cropped, cropped.any(axis=(1, 2)))


def cache_slices(
    folder: Path,
    parts: Iterable[TrainingSlices],
    most_slices: int,
    provenance: dict[str, Any],
    how: Preprocessing = Preprocessing(),
) -> TrainingSlices:
    """The slices in a folder, memory-mapped; made from `parts` unless they are there from the same provenance.

    Args:
        folder: Made if missing; safe to delete.
        parts: Read only if the cache has to be made, one after another, until `most_slices` are there.
        most_slices: Bounds the files: a slice of 256 x 256 takes 192 KiB.
        provenance: What the slices are made from, as JSON can hold it.
        how: Size of the slices.

    Raises:
        ValueError: If there are no slices.
    """
    note = folder / PROVENANCE_FILE
    wanted = {"provenance": provenance, "most_slices": most_slices, "preprocessing": asdict(how)}
    made = json.loads(note.read_text()) if note.is_file() else {}
    if made.get("wanted") != json.loads(json.dumps(wanted)):
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        made = {"wanted": wanted, "slices": _write(folder, parts, most_slices, how.size)}
        write_bytes(note, json.dumps(made).encode(), overwrite=True)  # last: without it the files are not trusted
    if not made["slices"]:
        raise ValueError(f"{folder}: there are no training slices")
    images = np.load(folder / IMAGES_FILE, mmap_mode="r")[: made["slices"]]
    labels = np.load(folder / LABELS_FILE, mmap_mode="r")[: made["slices"]]
    return TrainingSlices(images, labels, np.array([bool(label.any()) for label in labels]))


def _write(folder: Path, parts: Iterable[TrainingSlices], most_slices: int, size: int) -> int:
    """Write part after part, so that memory holds one of them; how many slices came."""
    shape, count = (most_slices, size, size), 0
    images = np.lib.format.open_memmap(folder / IMAGES_FILE, "w+", np.float16, shape)
    labels = np.lib.format.open_memmap(folder / LABELS_FILE, "w+", np.uint8, shape)
    for part in parts:
        kept = min(len(part), most_slices - count)
        images[count : count + kept] = part.images[:kept]
        labels[count : count + kept] = part.labels[:kept]
        count += kept
        if count == most_slices:
            break
    images.flush()
    labels.flush()
    return count
