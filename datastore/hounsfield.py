"""Which numbers can be Hounsfield units."""

from __future__ import annotations

import numpy as np

HIGHEST_MINIMUM_HU = -20.0  # every CT shows fat or air somewhere; normalised images end near -3
HU_RANGE = (-40_000.0, 70_000.0)  # padding at the one end, metal on the extended scale at the other
INT16 = np.iinfo(np.int16)


class NotHounsfieldError(ValueError):
    """The file is a volume, but its numbers are no Hounsfield units: a mask, a picture, raw values."""


class HounsfieldUnits:
    """Makes whole Hounsfield units of the voxels of a volume, some at a time, and knows in the end if they were any."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf
        self._not_finite = 0
        self._is_whole = True

    def take(self, some: np.ndarray) -> np.ndarray:
        """Some voxels as int16; where they are int16 already, the same array.

        Raises:
            NotHounsfieldError: If they are no numbers.
        """
        if some.dtype.kind not in "iuf":
            raise NotHounsfieldError(f"expected numbers, got {some.dtype}")
        low, high = some.min(), some.max()
        if some.dtype.kind == "f":
            self._is_whole = False
            if not (np.isfinite(low) and np.isfinite(high)):
                finite = np.isfinite(some)
                self._not_finite += int(finite.size - np.count_nonzero(finite))
                return np.zeros(some.shape, np.int16)  # `check` refuses them
        self._low, self._high = min(self._low, float(low)), max(self._high, float(high))
        if some.dtype == np.int16:
            return some
        if some.dtype.kind == "u":
            return some.astype(np.int16)  # `check` refuses them: nothing lies below zero
        if some.dtype.kind == "f":
            some = np.rint(some)
        return np.clip(some, INT16.min, INT16.max).astype(np.int16)

    def check(self) -> None:
        """Refuse the voxels that were taken if they cannot be Hounsfield units.

        Raises:
            NotHounsfieldError: If they cannot.
        """
        if self._not_finite:
            raise NotHounsfieldError(f"{self._not_finite} voxels are not finite numbers")
        low, high = self._low, self._high
        if low > HIGHEST_MINIMUM_HU or low < HU_RANGE[0] or high > HU_RANGE[1]:
            kind = "a mask" if self._is_whole and 0 <= low <= high <= 255 else "a picture or raw scanner values"
            raise NotHounsfieldError(
                f"not in Hounsfield units: values run from {low:g} to {high:g} ({kind}?), "
                f"expected fat or air below {HIGHEST_MINIMUM_HU:g}"
            )


def hounsfield_units(array: np.ndarray) -> np.ndarray:
    """Whole Hounsfield units (int16); the same array if it is int16.

    Raises:
        NotHounsfieldError: If the numbers cannot be any.
    """
    units = HounsfieldUnits()
    if array.dtype == np.int16:
        whole = units.take(array)
    else:
        whole = np.empty(array.shape, np.int16)
        for plane, taken in zip(array, whole, strict=True):
            taken[...] = units.take(plane)
    units.check()
    return whole


def are_hounsfield_units(some: np.ndarray) -> bool:
    """Whether some voxels of a volume show already that all are Hounsfield units; False if they leave it open."""
    low, high = float(some.min()), float(some.max())  # NaN fails every comparison
    return HU_RANGE[0] <= low <= HIGHEST_MINIMUM_HU and high <= HU_RANGE[1]
