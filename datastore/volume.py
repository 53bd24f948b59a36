"""Voxels with their place in the patient: the value that every other part works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from datastore.geometry import Geometry
from datastore.orientation import Reorientation, to_lps


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a regular grid in patient space.

    Attributes:
        array: (z, y, x) voxels, in the file's own axis order; Hounsfield units (int16) for CT, label
            numbers (uint8) for a mask. `to_lps` turns them along the patient's axes. It may be a view whose memory
            lies in another order.
        geometry: Spacing in mm, origin in mm and direction cosines, LPS; (x, y, z) order as in ITK.
    """

    array: np.ndarray
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.size == 0:
            raise ValueError(f"expected an array with three axes (z, y, x), got shape {self.array.shape}")

    @cached_property
    def reorientation(self) -> Reorientation:
        """How this grid is turned to LPS."""
        return to_lps(self.geometry)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Voxel spacing in array order (z, y, x)."""
        x, y, z = self.geometry.spacing_mm
        return z, y, x

    def to_lps(self) -> Volume:
        """The same voxels along LPS: index 0 is most inferior, most anterior and most to the right.

        The array may be a view of this one.
        """
        turn = self.reorientation
        return Volume(turn.apply(self.array), turn.geometry(self.geometry, self.array.shape))

    def with_array(self, array: np.ndarray) -> Volume:
        """The same grid carrying other voxels, e.g. the mask of a scan."""
        if array.shape != self.array.shape:
            raise ValueError(f"expected shape {self.array.shape}, got {array.shape}")
        return replace(self, array=array)

    def with_lps_array(self, array: np.ndarray) -> Volume:
        """This grid carrying voxels that lie along LPS; undoes `to_lps`. The array may be a view of the given one."""
        return self.with_array(self.reorientation.undo(array))

    def on_grid_of(self, image: Volume) -> Volume:
        """These voxels in the axis order of `image`, whose grid they must share; nothing is resampled.

        Raises:
            ValueError: If the two grids are not the same apart from the order and sense of the axes.
        """
        ours, theirs = self.to_lps(), image.to_lps()
        if ours.array.shape != theirs.array.shape:
            raise ValueError(f"mask grid {_xyz(self.array.shape)} does not match image {_xyz(image.array.shape)}")
        distance_mm = ours.geometry.corner_distance_mm(theirs.geometry, ours.array.shape)
        if distance_mm > 0.1 * min(image.geometry.spacing_mm):
            raise ValueError(
                f"mask grid does not match image: the same corner lies {distance_mm:.2f} mm apart "
                f"(spacing {_millimetres(self.geometry.spacing_mm)} against "
                f"{_millimetres(image.geometry.spacing_mm)} mm)"
            )
        return image.with_lps_array(ours.array)


def _xyz(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(reversed(shape))


def _millimetres(spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in spacing_mm)
