"""An annotator's mask on its way into the registry: read, renumbered by name, checked, stored.

An upload that is refused is kept beside the case's masks: nobody's work is thrown away because of a wrong grid.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from datastore.atomic import atomic_path
from datastore.image_files import read_mask, suffix_of
from datastore.labels import check_sides, renumber
from datastore.nrrd_files import read_segmentation
from datastore.records import Case, Label, NewLabel
from datastore.registry import Registry
from datastore.volume import Volume

REFUSED_FOLDER = "refused"


class RefusedMaskError(ValueError):
    """A submitted mask cannot be taken; it was kept, and the message says where."""


def submit_mask(
    registry: Registry, case_id: str, upload: Path, names: Sequence[str | None] | None, new: NewLabel
) -> Label:
    """Take a mask that somebody made for a case.

    Args:
        registry: Where it goes.
        case_id: The case.
        upload: The file as it came; NIfTI, NRRD, .seg.nrrd or MetaImage.
        names: Segment names of voxel values 1, 2, ... in turn; None if the mask is numbered our way. A
            .seg.nrrd says its names itself.
        new: What it is and where it comes from.

    Returns:
        The stored version, on the grid of the case's image and in our numbering.

    Raises:
        UnknownCaseError: If there is no such case.
        RefusedMaskError: If the file is no mask of this image, or has unknown or swapped segments.
    """
    case = registry.case(case_id)
    try:
        mask = _checked(case, upload, names)
    except ValueError as error:
        kept = _keep(registry.labels_folder / case_id / REFUSED_FOLDER, upload)
        reason = str(error).replace(f"{upload}: ", "")
        raise RefusedMaskError(f"mask of case {case_id} refused: {reason} (kept as {kept.name})") from error
    return registry.add_label(case_id, mask, new)


def _checked(case: Case, upload: Path, names: Sequence[str | None] | None) -> Volume:
    image = Volume(np.broadcast_to(np.uint8(0), case.shape), case.geometry)
    if suffix_of(upload) == ".seg.nrrd":
        mask, names = read_segmentation(upload, image)
    else:
        mask = read_mask(upload)
    mask = mask.with_array(renumber(mask.array, names)).on_grid_of(image)
    check_sides(mask.to_lps().array)
    return mask


def _keep(folder: Path, upload: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    suffix = suffix_of(upload) or ".bin"
    kept = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{suffix}"
    with atomic_path(kept) as temporary:
        shutil.copyfile(upload, temporary)
    return kept
