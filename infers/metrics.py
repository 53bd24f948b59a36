"""How well a mask agrees with a reference: overlap, volume and surface distances, per structure.

Source: Hofmanninger et al. 2020, section II-D; surfaces are those of DeepMind's surface-distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from datastore.labels import LUNGS, Structure
from datastore.volume import Volume
from infers.agreement import Agreement, UnknownLabelError
from infers.mask_agreement import agreements

TOLERANCE_MM = 2.0


class Presence(StrEnum):
    """Where a structure is."""

    BOTH = "in both"
    MISSED = "only in the reference"
    FALSE = "only in the prediction"
    ABSENT = "in neither"


@dataclass(frozen=True)
class Metric:
    """What a number of a `StructureScore` means.

    Attributes:
        key: Name of the attribute.
        title: For a table's head, e.g. `HD95`.
        unit: `mm`, `ml`, `%` or "".
        higher_is_better: False for distances and errors.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool


METRICS = (
    Metric("dice", "DSC", "", True),
    Metric("jaccard", "Jaccard", "", True),
    Metric("precision", "Precision", "", True),
    Metric("recall", "Recall", "", True),
    Metric("specificity", "Specificity", "", True),
    Metric("volume_error_ml", "Volume error", "ml", False),
    Metric("volume_error_percent", "Volume error", "%", False),
    Metric("hausdorff_mm", "HD", "mm", False),
    Metric("hausdorff95_mm", "HD95", "mm", False),
    Metric("mean_surface_distance_mm", "MSD", "mm", False),
    Metric("average_symmetric_surface_distance_mm", "ASSD", "mm", False),
    Metric("surface_dice", "Surface Dice", "", True),
)


@dataclass(frozen=True)
class StructureScore:
    """One structure of a mask against the reference.

    Where the structure is in only one of the two, Dice, Jaccard and surface Dice are 0 and all distances inf; where
    it is in neither, they are nan, and it does not count.

    Attributes:
        name: `right_lung`, ...
        reference_ml: Its volume in the reference.
        prediction_ml: Its volume in the prediction.
        dice: Eq. 1 of the paper.
        jaccard: Intersection over union.
        precision: Share of the prediction that is in the reference; nan if the prediction is empty.
        recall: Share of the reference that is in the prediction; nan if the reference is empty.
        specificity: Share of the voxels outside the reference that are outside the prediction, too.
        volume_error_ml: Prediction minus reference.
        volume_error_percent: The same in percent of the reference; nan if that is empty.
        hausdorff_mm: Largest distance between the surfaces (100th percentile).
        hausdorff95_mm: Eqs 2 and 3: larger of the two 95th percentiles.
        mean_surface_distance_mm: Eqs 4 and 5: larger of the two directed means.
        average_symmetric_surface_distance_mm: Mean over the elements of both surfaces.
        surface_dice: Share of both surfaces that lies within the tolerance of the other.
    """

    name: str
    reference_ml: float
    prediction_ml: float
    dice: float
    jaccard: float
    precision: float
    recall: float
    specificity: float
    volume_error_ml: float
    volume_error_percent: float
    hausdorff_mm: float
    hausdorff95_mm: float
    mean_surface_distance_mm: float
    average_symmetric_surface_distance_mm: float
    surface_dice: float

    @property
    def presence(self) -> Presence:
        """Whether the structure is in both masks."""
        there = self.reference_ml > 0, self.prediction_ml > 0
        return {
            (True, True): Presence.BOTH,
            (True, False): Presence.MISSED,
            (False, True): Presence.FALSE,
            (False, False): Presence.ABSENT,
        }[there]


def score(
    reference: Volume,
    prediction: Volume,
    structures: Sequence[Structure] = LUNGS,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    threads: int = 1,
) -> tuple[StructureScore, ...]:
    """Compare a mask with a reference, structure by structure.

    Args:
        reference: (z, y, x) uint8 labels.
        prediction: (z, y, x) uint8 labels on the same grid, in whatever order of axes.
        structures: What to score; their values are those of both masks.
        tolerance_mm: Of the surface Dice.
        threads: How many structures are scored at a time.

    Raises:
        ValueError: If the grids differ, or a mask holds a value that is no structure's.
    """
    prediction = prediction.on_grid_of(reference)
    values = [structure.value for structure in structures]
    spacing_mm = reference.spacing_zyx_mm
    try:
        found = list(agreements(reference.array, prediction.array, values, spacing_mm, threads))
    except UnknownLabelError as error:
        expected = ", ".join(f"{structure.value} {structure.name}" for structure in structures)
        raise ValueError(f"label value {error.value} is unknown: expected 0 background, {expected}") from error
    voxel_ml, voxels = reference.geometry.voxel_ml, reference.array.size
    return tuple(
        _score(structure.name, agreement, voxel_ml, voxels, tolerance_mm)
        for structure, agreement in zip(structures, found, strict=True)
    )


def as_whole(mask: Volume) -> Volume:
    """A mask with every structure as 1: for references without sides."""
    return mask.with_array((mask.array > 0).astype(np.uint8))


def tumour_overlap(tumour: Volume, lungs: Volume) -> float:
    """Share of a tumour that the lungs cover: eq. 6 of the paper.

    Args:
        tumour: (z, y, x) labels; everything above 0 is tumour.
        lungs: (z, y, x) labels on the same grid; everything above 0 is lung.

    Returns:
        0..1.

    Raises:
        ValueError: If the grids differ, or there is no tumour.
    """
    covered = total = 0
    for inside, over in zip(tumour.array, lungs.on_grid_of(tumour).array, strict=True):  # no copy of a whole mask
        total += int(np.count_nonzero(inside))
        covered += int(np.count_nonzero((inside > 0) & (over > 0)))
    if not total:
        raise ValueError("the tumour's mask is empty")
    return covered / total


def mean_score(scores: Iterable[StructureScore], metric: str) -> float | None:
    """Mean over the structures that are in at least one of the two masks; None if there is none."""
    values = [getattr(item, metric) for item in scores if item.presence is not Presence.ABSENT]
    return sum(values) / len(values) if values else None


def _score(name: str, agreement: Agreement, voxel_ml: float, voxels: int, tolerance_mm: float) -> StructureScore:
    reference, prediction = agreement.reference_voxels, agreement.prediction_voxels
    common, surfaces = agreement.common_voxels, agreement.surfaces
    in_either = reference + prediction - common
    return StructureScore(
        name,
        reference_ml=reference * voxel_ml,
        prediction_ml=prediction * voxel_ml,
        dice=_share(2 * common, reference + prediction),
        jaccard=_share(common, in_either),
        precision=_share(common, prediction),
        recall=_share(common, reference),
        specificity=_share(voxels - in_either, voxels - reference),
        volume_error_ml=(prediction - reference) * voxel_ml,
        volume_error_percent=100 * _share(prediction - reference, reference),
        hausdorff_mm=surfaces.hausdorff_mm(),
        hausdorff95_mm=surfaces.hausdorff_mm(95),
        mean_surface_distance_mm=surfaces.mean_mm,
        average_symmetric_surface_distance_mm=surfaces.average_mm,
        surface_dice=surfaces.surface_dice(tolerance_mm),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
