"""What follows the network: small components removed, holes filled, no piece of a lung dropped.

lungmask keeps one component a lung, which loses the second piece of a lung that an effusion or a collapse has
split; here every piece above the paper's 25 cm3 stays (Hofmanninger et al. 2020, sec. II-E).
"""

from __future__ import annotations

import cc3d
import fill_voids
import numpy as np

SMALLEST_PIECE_ML = 25.0
SMALLEST_CUT_PIECE_ML = 1.0


def postprocess(mask: np.ndarray, voxel_ml: float) -> np.ndarray:
    """Remove pieces of lung below 25 ml and fill holes.

    A piece that the first or last slice cuts off may be the tip of a lung outside the scan: there 1 ml is enough.

    Args:
        mask: (z, y, x) uint8 labels.
        voxel_ml: Volume of a voxel.

    Returns:
        (z, y, x) uint8.
    """
    pieces, count = cc3d.connected_components(mask > 0, connectivity=6, return_N=True)
    volumes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml
    keep = volumes_ml >= SMALLEST_PIECE_ML
    cut = np.zeros(count + 1, dtype=bool)
    cut[np.unique(pieces[[0, -1]])] = True
    keep |= cut & (volumes_ml >= SMALLEST_CUT_PIECE_ML)
    keep[0] = False
    cleaned = np.where(keep[pieces], mask, 0).astype(np.uint8)
    for value in np.unique(cleaned[cleaned > 0]):
        filled = fill_voids.fill(cleaned == value)
        cleaned[filled & (cleaned == 0)] = value
    return cleaned
