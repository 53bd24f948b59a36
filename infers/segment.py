"""A scan in, its lungs out, on the scan's own grid."""

from __future__ import annotations

import numpy as np

from datastore.volume import Volume
from infers.models import Model


def segment(volume: Volume, model: Model) -> Volume:
    """The lungs of a CT scan.

    >>> from datastore.phantom import chest_phantom
    >>> from infers import load_model
    >>> phantom = chest_phantom(seed=1)
    >>> mask = segment(phantom.image, load_model("threshold"))
    >>> mask.array.shape == phantom.image.array.shape
    True

    Args:
        volume: (z, y, x) int16 Hounsfield units in any orientation.
        model: From `load_model`.

    Returns:
        (z, y, x) uint8 on the grid of `volume`: 0 background, 1 the patient's right lung, 2 the left.
    """
    upright = volume.to_lps()
    mask = model.predict(np.ascontiguousarray(upright.array), upright.spacing_zyx_mm)
    return volume.with_lps_array(mask)
