"""From Hounsfield units to what the network sees: body crop, 256 x 256, window [-1024, 600].

One `preprocess` serves training, validation and inference. It gives lungmask 0.2's numbers exactly, because
the published weights were trained on them (Hofmanninger et al. 2020, sec. II-B; lungmask `utils.preprocess`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infers.body_box import body_box
from infers.resampling import zoomed
from infers.restoring import restore, restore_smooth

__all__ = ["NetworkInput", "Preprocessing", "body_box", "preprocess", "restore", "restore_smooth"]


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

    Raises:
        ValueError: If `hu` is not int16; the network is trained on whole Hounsfield units.
    """
    if hu.ndim != 3 or hu.dtype != np.int16:
        raise ValueError(f"expected hu as (slices, y, x) int16, got {hu.shape} {hu.dtype}")
    images = np.empty((len(hu), how.size, how.size), dtype=np.float32)
    boxes = np.empty((len(hu), 4), dtype=np.int64)
    for slice_hu, image, box in zip(hu, images, boxes, strict=True):
        box[:] = top, left, bottom, right = body_box(slice_hu, (how.hu_low, how.hu_high))
        # copied first: np.clip is ten times as fast on what lies in one piece
        crop = slice_hu[top:bottom, left:right].copy().clip(how.hu_low, how.hu_high)
        resized = zoomed(crop, how.size)
        resized -= how.hu_low
        np.divide(resized, np.float32(how.hu_high - how.hu_low), out=image, dtype=np.float32, casting="unsafe")
    return NetworkInput(images, boxes)
