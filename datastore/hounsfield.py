"""Which numbers can be Hounsfield units."""

from __future__ import annotations

import numpy as np

HIGHEST_MINIMUM_HU = -20.0  # every CT shows fat or air somewhere; normalised images end near -3
HU_RANGE = (-40_000.0, 70_000.0)  # padding at the one end, metal on the extended scale at the other


class NotHounsfieldError(ValueError):
    """The file is a volume, but its numbers are no Hounsfield units: a mask, a picture, raw values."""


def hounsfield_units(array: np.ndarray) -> np.ndarray:
    """Whole Hounsfield units (int16).

    Raises:
        NotHounsfieldError: If the numbers cannot be any.
    """
    if array.dtype.kind not in "iuf":
        raise NotHounsfieldError(f"expected numbers, got {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NotHounsfieldError(f"{int((~np.isfinite(array)).sum())} voxels are not finite numbers")
    low, high = float(array.min()), float(array.max())
    if low > HIGHEST_MINIMUM_HU or low < HU_RANGE[0] or high > HU_RANGE[1]:
        kind = "a mask" if array.dtype.kind in "iu" and 0 <= low <= high <= 255 else "a picture or raw scanner values"
        raise NotHounsfieldError(
            f"not in Hounsfield units: values run from {low:g} to {high:g} ({kind}?), "
            f"expected fat or air below {HIGHEST_MINIMUM_HU:g}"
        )
    if array.dtype.kind == "f":
        array = np.rint(array)
    return np.clip(array, -32768, 32767).astype(np.int16, copy=False)


def are_hounsfield_units(some: np.ndarray) -> bool:
    """Whether some voxels of a volume show already that all are Hounsfield units; False if they leave it open."""
    low, high = float(some.min()), float(some.max())  # NaN fails every comparison
    return HU_RANGE[0] <= low <= HIGHEST_MINIMUM_HU and high <= HU_RANGE[1]
