"""From Hounsfield units to what the network sees, and back: body crop, 256 x 256, window [-1024, 600].

One `preprocess` serves training, validation and inference. It gives lungmask 0.2's numbers exactly, because
the published weights were trained on them (Hofmanninger et al. 2020, sec. II-B; lungmask `utils.preprocess`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BODY_THRESHOLD_HU = -500
BODY_GRID = 128  # the body is looked for on a 128 x 128 picture of the slice
CROSS = ndimage.generate_binary_structure(2, 1)
SQUARE = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its input; it travels with the model's weights.

    Attributes:
        hu_low: Hounsfield units that become 0.
        hu_high: Hounsfield units that become 1.
        size: Pixels along each side of the network's input.
    """

    hu_low: int = -1024
    hu_high: int = 600
    size: int = 256


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """Slices as the network sees them.

    Attributes:
        images: (slices, size, size) float32 in 0..1.
        boxes: (slices, 4) int: first row, first column, end row, end column of each body crop.
    """

    images: np.ndarray
    boxes: np.ndarray


def preprocess(hu: np.ndarray, how: Preprocessing = Preprocessing()) -> NetworkInput:
    """Crop each slice to the body, resize and window it.

    Args:
        hu: (slices, y, x) int16 Hounsfield units along LPS.
        how: Window and size.

    Returns:
        The network's input and the crop of each slice.
    """
    clipped = np.clip(hu, how.hu_low, how.hu_high)
    images = np.empty((len(hu), how.size, how.size), dtype=np.float32)
    boxes = np.empty((len(hu), 4), dtype=np.int64)
    for index, slice_hu in enumerate(clipped):
        top, left, bottom, right = boxes[index] = body_box(slice_hu)
        crop = slice_hu[top:bottom, left:right]
        resized = ndimage.zoom(crop, np.array([how.size, how.size]) / np.array(crop.shape), order=1)
        images[index] = (resized - float(how.hu_low)) / (how.hu_high - how.hu_low)
    return NetworkInput(images, boxes)


def body_box(slice_hu: np.ndarray) -> tuple[int, int, int, int]:
    """The box around the body in one slice: first row, first column, end row, end column.

    A slice without a body keeps its whole frame.
    """
    small = ndimage.zoom(slice_hu, BODY_GRID / np.array(slice_hu.shape), order=0) > BODY_THRESHOLD_HU
    small = ndimage.binary_closing(small)
    small = ndimage.binary_fill_holes(small, structure=SQUARE)
    small = ndimage.binary_erosion(small, iterations=2)
    numbered, count = ndimage.label(small, structure=CROSS)
    if count:
        largest = int(np.argmax(np.bincount(numbered.ravel())[1:])) + 1
        small = ndimage.binary_dilation(numbered == largest, iterations=2)
    body = ndimage.zoom(small, np.array(slice_hu.shape) / BODY_GRID, order=0)
    found = ndimage.find_objects(ndimage.label(body, structure=SQUARE)[0])
    if not found:
        return 0, 0, slice_hu.shape[0], slice_hu.shape[1]
    rows, columns = found[0]
    return rows.start, columns.start, rows.stop, columns.stop


def restore(labels: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels of the network's slices back in the frame of the scan; undoes `preprocess` by nearest neighbour.

    Args:
        labels: (slices, size, size) uint8.
        boxes: (slices, 4) crops from `preprocess`.
        shape: (y, x) of the scan's slices.

    Returns:
        (slices, y, x) uint8.
    """
    whole = np.zeros((len(labels), *shape), dtype=np.uint8)
    for index, (top, left, bottom, right) in enumerate(boxes):
        if not labels[index].any():
            continue
        factors = np.array([bottom - top, right - left]) / np.array(labels.shape[1:])
        whole[index, top:bottom, left:right] = ndimage.zoom(labels[index], factors, order=0)
    return whole
