"""Which pieces of air inside the body are lung: by size, density, place and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from infers.inner_air import InnerAir
from infers.morphology import depth_mm, distance_mm

SMALLEST_LUNG_ML = 25.0
SMALLEST_PIECE_ML = 3.0
LARGE_LUNG_ML = 300.0
DENSEST_MEAN_HU = -450.0


@dataclass(frozen=True)
class Piece:
    """A connected piece of air that may be lung.

    Attributes:
        number: Its label.
        volume_ml: Volume in ml.
        centre: (z, y, x) index.
        mean_hu: Mean Hounsfield units away from its edge.
        thickness_mm: Radius of the largest ball inside it.
        low_z: Its lowest slice.
        at_top: Whether it reaches the last slice.
        at_bottom: Whether it reaches the first slice.
    """

    number: int
    volume_ml: float
    centre: tuple[float, float, float]
    mean_hu: float
    thickness_mm: float
    low_z: int
    at_top: bool
    at_bottom: bool


def find_lung_pieces(
    hu: np.ndarray, air: InnerAir, airway: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Find what is lung in the air inside the body.

    A piece of 25 ml (Hofmanninger et al. 2020, section II-E) is lung if it has the density of lung. Smaller
    ones count where they lie beside a large lung, or where the end of the stack cuts them: bases lie in the
    posterior half of the body, apices beside a trachea. In stacks lower than 60 mm the volumes shrink with
    the height.

    Args:
        hu: (z, y, x) float32 Hounsfield units on a grid of about 2 mm.
        air: The air inside the body on the same grid.
        airway: (z, y, x) bool, trachea and main bronchi.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) bool.
    """
    labels = cc3d.connected_components(air.mask & ~air.gas & ~airway, connectivity=6)
    share = float(np.clip(hu.shape[0] * spacing_mm[0] / 60.0, 0.02, 1.0))
    pieces = [
        piece
        for piece in _pieces(labels, hu, spacing_mm, SMALLEST_PIECE_ML * share)
        if air.level_hu + 25 < piece.mean_hu < DENSEST_MEAN_HU
    ]
    body_y = np.count_nonzero(air.body, axis=(0, 2)) if air.body.any() else np.ones(hu.shape[1])
    middle_y = float(body_y @ np.arange(hu.shape[1]) / body_y.sum())
    main = [
        piece
        for piece in pieces
        if (piece.volume_ml >= SMALLEST_LUNG_ML * share and (_cut(piece) or piece.thickness_mm >= 8.0))
        or (piece.at_top and not piece.at_bottom and piece.centre[1] > middle_y)
        or (piece.at_bottom and airway.any())
    ]
    large = [piece for piece in main if piece.volume_ml >= LARGE_LUNG_ML * share]
    if large:
        others = [piece for piece in pieces if piece not in large]
        main = large + _beside(large, others, labels, SMALLEST_LUNG_ML * share, spacing_mm)
    wanted = np.zeros(int(labels.max()) + 1, bool)
    wanted[[piece.number for piece in main]] = True
    return wanted[labels]


def _cut(piece: Piece) -> bool:
    return piece.at_top or piece.at_bottom


def _pieces(
    labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float], smallest_ml: float
) -> list[Piece]:
    statistics = cc3d.statistics(labels)
    volumes_ml = statistics["voxel_counts"] * (np.prod(spacing_mm) / 1000.0)
    pieces = []
    for number in np.flatnonzero(volumes_ml >= smallest_ml):
        if number == 0:
            continue
        box = statistics["bounding_boxes"][number]
        around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        depth = depth_mm(labels[around] == number, spacing_mm)
        thickness_mm = float(depth.max())
        inside = depth > min(0.5 * thickness_mm, 4.0)
        z, y, x = (float(value) for value in statistics["centroids"][number])
        pieces.append(
            Piece(
                number=int(number),
                volume_ml=float(volumes_ml[number]),
                centre=(z, y, x),
                mean_hu=float(hu[around][inside].mean()),
                thickness_mm=thickness_mm,
                low_z=int(box[0].start),
                at_top=box[0].stop == hu.shape[0],
                at_bottom=box[0].start == 0,
            )
        )
    return pieces


def _beside(
    large: list[Piece],
    others: list[Piece],
    labels: np.ndarray,
    smallest_ml: float,
    spacing_mm: tuple[float, float, float],
) -> list[Piece]:
    """Pieces split off a large lung: within 15 mm of one, or above the bases, where bowel rarely lies."""
    lowest_z = min(piece.low_z for piece in large)
    mean_z = float(np.mean([piece.centre[0] for piece in large]))
    near = distance_mm(np.isin(labels, [piece.number for piece in large]), spacing_mm) < 15.0
    kept = []
    for piece in others:
        is_high = piece.centre[0] >= lowest_z + 0.3 * (mean_z - lowest_z)
        is_near = bool((near & (labels == piece.number)).any())
        if is_high and (is_near or piece.volume_ml >= smallest_ml):
            kept.append(piece)
    return kept
