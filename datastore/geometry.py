"""Where voxels lie in the patient: spacing, origin and direction cosines in LPS, as ITK has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Verbatim:
    """A file's own words for its grid, kept so that a mask in the same format repeats them bit for bit.

    Attributes:
        format: `nifti` or `nrrd`.
        fields: Header fields by name, as the format's reader gave them.
    """

    format: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Geometry:
    """A regular grid in patient space (LPS: x to the patient's left, y to posterior, z to superior).

    Attributes:
        spacing_mm: Distance between voxel centres along the index axes i, j, k.
        origin_mm: Centre of voxel (0, 0, 0).
        direction: 3 x 3 direction cosines, row by row; **column** n is the direction of index axis n.
        verbatim: The source file's own header fields; no part of the grid's identity.
    """

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY
    verbatim: Verbatim | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.direction) != 9:
            raise ValueError(f"direction must have 9 numbers, got {len(self.direction)}")
        numbers = np.array([*self.spacing_mm, *self.origin_mm, *self.direction], dtype=float)
        if not np.isfinite(numbers).all():
            raise ValueError(f"the grid has numbers that are not finite: {numbers.tolist()}")
        if min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing must be above 0 mm, got {self.spacing_mm}")
        cosines = self.matrix
        tilt = np.abs(cosines.T @ cosines - np.eye(3)).max()
        if tilt > 5e-3:
            raise ValueError(
                "expected axes at right angles, got a sheared grid (gantry tilt?): "
                f"direction cosines {np.round(cosines, 4).tolist()}"
            )

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) direction cosines; columns are the index axes."""
        return np.array(self.direction, dtype=float).reshape(3, 3)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) matrix from index (i, j, k) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.matrix * np.array(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def corner_distance_mm(self, other: Geometry, shape: tuple[int, ...]) -> float:
        """Largest distance between the same corner of two grids of one shape, in mm.

        Args:
            other: The grid to compare with.
            shape: (z, y, x) voxels of both.
        """
        nz, ny, nx = (n - 1 for n in shape)
        corners = np.array([[i, j, k, 1.0] for i in (0, nx) for j in (0, ny) for k in (0, nz)])
        moved = corners @ (self.affine - other.affine).T
        return float(np.linalg.norm(moved[:, :3], axis=1).max())

    def plain(self) -> Geometry:
        """The same grid without the words of the file it came from."""
        return replace(self, verbatim=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; `from_dict` gives the same grid back."""
        plain: dict[str, Any] = {
            "spacing_mm": list(self.spacing_mm),
            "origin_mm": list(self.origin_mm),
            "direction": list(self.direction),
        }
        if self.verbatim is not None:
            fields = {name: np.asarray(value).tolist() for name, value in self.verbatim.fields.items()}
            plain["verbatim"] = {"format": self.verbatim.format, "fields": fields}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Geometry:
        """The grid that `to_dict` wrote."""
        verbatim = plain.get("verbatim")
        return cls(
            _triple(np.array(plain["spacing_mm"])),
            _triple(np.array(plain["origin_mm"])),
            tuple(plain["direction"]),
            None if verbatim is None else Verbatim(verbatim["format"], verbatim["fields"]),
        )

    @classmethod
    def from_affine(
        cls,
        affine: np.ndarray,
        spacing_mm: tuple[float, float, float] | None = None,
        verbatim: Verbatim | None = None,
    ) -> Geometry:
        """The grid of a (4, 4) index-to-LPS matrix; `spacing_mm` where the file states it besides."""
        columns = np.asarray(affine, dtype=float)[:3, :3]
        norms = np.linalg.norm(columns, axis=0)
        if not (norms > 0).all():
            raise ValueError(f"expected an invertible index-to-patient matrix, got {columns.tolist()}")
        spacing = norms if spacing_mm is None else np.array(spacing_mm, dtype=float)
        return cls(
            spacing_mm=_triple(spacing),
            origin_mm=_triple(np.asarray(affine)[:3, 3]),
            direction=tuple(float(value) for value in (columns / norms).ravel()),
            verbatim=verbatim,
        )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
