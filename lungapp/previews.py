"""A small picture of a case: one axial and one coronal slice in the lung window, the mask's outline on it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from datastore.labels import LUNGS
from datastore.volume import Volume
from lungapp.slice_pictures import BACKGROUND, blocky, grey, outline, png, smooth

HEIGHT = 220  # pixels of each slice


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
    return png(whole)


def _picture(hu: np.ndarray, labels: np.ndarray, row_mm: float, column_mm: float) -> Image.Image:
    width = max(40, min(2 * HEIGHT, round(HEIGHT * (hu.shape[1] * column_mm) / (hu.shape[0] * row_mm))))
    size = (width, HEIGHT)
    coloured = np.repeat(smooth(grey(hu), size)[..., np.newaxis], 3, axis=2)
    shown = blocky(labels, size)
    for structure in LUNGS:
        coloured[outline(shown == structure.value, 2)] = np.array(structure.colour) * 255
    return Image.fromarray(coloured)
