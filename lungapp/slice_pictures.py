"""Slices as pictures: the lung window, pixels of equal size whatever the voxels are, outlines of masks."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

WINDOW_HU = (-1150.0, 350.0)
BACKGROUND = (13, 17, 23)


def grey(hu: np.ndarray) -> np.ndarray:
    """A slice in the lung window.

    Args:
        hu: (rows, columns) Hounsfield units.

    Returns:
        (rows, columns) uint8, 0 black.
    """
    low, high = WINDOW_HU
    return (np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def smooth(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grey picture in another size.

    Args:
        picture: (rows, columns) uint8.
        size: Width and height in pixels.
    """
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR))


def blocky(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A slice of a mask in another size; no label that it does not have comes in.

    Args:
        labels: (rows, columns) uint8.
        size: Width and height in pixels.
    """
    return np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST))


def outline(inside: np.ndarray, width: int) -> np.ndarray:
    """The rim of a shape: those of its pixels that lie within `width` pixels of its border."""
    rim: np.ndarray = inside & ~ndimage.binary_erosion(inside, iterations=width)
    return rim


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
