"""A small picture of a case: one axial and one coronal slice in the lung window, the mask's outline on it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from datastore.labels import LUNGS
from datastore.volume import Volume

HEIGHT = 220  # pixels of each slice
WINDOW_HU = (-1150.0, 350.0)
BACKGROUND = (13, 17, 23)


def preview(image: Volume, mask: Volume | None) -> bytes:
    """A PNG of the slices that show most of the lungs, or of the middle ones without a mask.

    Args:
        image: (z, y, x) Hounsfield units.
        mask: (z, y, x) labels on the same grid, or None.

    Returns:
        The PNG's bytes; the patient's right is on the left, as radiologists look at it.
    """
    upright = image.to_lps()
    hu = upright.array
    labels = np.zeros(hu.shape, np.uint8) if mask is None else mask.to_lps().array
    if labels.any():
        z = int((labels > 0).sum(axis=(1, 2)).argmax())
        y = int((labels > 0).sum(axis=(0, 2)).argmax())
    else:
        z, y = hu.shape[0] // 2, hu.shape[1] // 2
    dz, dy, dx = upright.spacing_zyx_mm
    axial = _picture(hu[z], labels[z], dy, dx)
    coronal = _picture(hu[::-1, y], labels[::-1, y], dz, dx)
    whole = Image.new("RGB", (axial.width + 6 + coronal.width, HEIGHT), BACKGROUND)
    whole.paste(axial, (0, 0))
    whole.paste(coronal, (axial.width + 6, 0))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()


def _picture(hu: np.ndarray, labels: np.ndarray, row_mm: float, column_mm: float) -> Image.Image:
    low, high = WINDOW_HU
    grey = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255
    width = max(40, min(2 * HEIGHT, round(HEIGHT * (hu.shape[1] * column_mm) / (hu.shape[0] * row_mm))))
    size = (width, HEIGHT)
    picture = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    coloured = np.repeat(picture[..., np.newaxis], 3, axis=2).copy()
    shown = np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST))
    for structure in LUNGS:
        inside = shown == structure.value
        outline = inside & ~ndimage.binary_erosion(inside, iterations=2)
        coloured[outline] = np.array(structure.colour) * 255
    return Image.fromarray(coloured)
