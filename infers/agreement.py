"""What every metric of two masks is worked out from: voxel counts and surface distances of a structure."""

from __future__ import annotations

from dataclasses import dataclass

from infers.surface_distances import SurfaceDistances


class UnknownLabelError(ValueError):
    """A mask holds a value that is no structure's.

    Attributes:
        value: That value.
    """

    def __init__(self, value: int) -> None:
        super().__init__(f"label value {value} is unknown")
        self.value = value


@dataclass(frozen=True, eq=False)
class Agreement:
    """One structure in a reference and in a prediction.

    Attributes:
        reference_voxels: In the reference.
        prediction_voxels: In the prediction.
        common_voxels: In both.
        surfaces: How far the two surfaces lie from one another.
    """

    reference_voxels: int
    prediction_voxels: int
    common_voxels: int
    surfaces: SurfaceDistances
