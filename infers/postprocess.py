"""What follows the network on the scan's own grid: specks removed or given back, sides mended, holes filled.

lungmask keeps one component a lung, which loses the second piece of a lung that an effusion or a collapse has
split; here every piece above the paper's 25 cm3 stays (Hofmanninger et al. 2020, sec. II-E).
"""

from __future__ import annotations

import numpy as np

from datastore.labels import check_sides
from infers.holes import fill_holes
from infers.lung_labels import LungLabels, labels_of
from infers.mask_pieces import large_pieces, mended_pieces
from infers.options import Postprocessing
from infers.regions import bounding_box, find_regions


def postprocess(
    mask: np.ndarray,
    voxel_ml: float,
    how: Postprocessing = Postprocessing.DEFAULT,
    labels: LungLabels | None = None,
) -> np.ndarray:
    """Mend a network's mask.

    Args:
        mask: (z, y, x) uint8 labels along LPS; 0 is background.
        voxel_ml: Volume of a voxel in ml.
        how: `DEFAULT` removes pieces below 25 ml, gives specks within a lung to that lung, mends sides and fills
            holes (see `infers.mask_pieces` and `infers.holes` for the rules). `PAPER` removes pieces below 25 ml and
            fills holes. `NONE` returns `mask` as it is.
        labels: Which labels are which lung. By default 1 is the right lung and 2 the left, or all are lobes where
            one is above 2.

    Returns:
        (z, y, x) uint8.

    Raises:
        ValueError: If `mask` has not three axes or is not uint8, `voxel_ml` is not above 0, or `how` is
            `LUNGMASK`, which belongs on the network's grid (`infers.lungmask_postprocess`).
    """
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected mask as (z, y, x) uint8, got shape {mask.shape} of {mask.dtype}")
    if not voxel_ml > 0:
        raise ValueError(f"expected voxel_ml above 0, got {voxel_ml}")
    if how == Postprocessing.LUNGMASK:
        raise ValueError("postprocessing `lungmask` works on the network's grid, not on the scan's")
    if how == Postprocessing.NONE:
        return mask
    result = np.zeros(mask.shape, np.uint8)
    box = bounding_box(mask)
    crop = mask[box].copy()
    if not crop.size:
        return result
    lungs = labels or labels_of(crop)
    pieces = find_regions(crop, connectivity=6)
    if how == Postprocessing.PAPER:
        values = large_pieces(pieces, voxel_ml)
    else:
        at_ends = (box[0].start == 0, box[0].stop == len(mask))
        values = mended_pieces(pieces, voxel_ml, at_ends, lungs)
    if (values != pieces.labels).any():
        pieces.mapped(values, out=crop)
    del pieces  # several times as large as the mask
    others = [(int(value),) for value in np.unique(values) if value not in (0, *lungs.right, *lungs.left)]
    fill_holes(crop, [lungs.right, lungs.left, *others])
    result[box] = crop
    return result


def swapped_sides(mask: np.ndarray) -> bool:
    """Whether the right lung of a (z, y, x) mask along LPS lies to the patient's left of its left lung.

    `postprocess` leaves such a mask as it is: the scan may be mirrored, or the organs of the patient.
    """
    try:
        check_sides(mask[bounding_box(mask)])
    except ValueError:
        return True
    return False
