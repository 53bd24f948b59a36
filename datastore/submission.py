"""An annotator's mask on its way into the registry: read, renumbered by name, checked, stored.

An upload that is refused is kept beside the case's masks: nobody's work is thrown away because of a wrong grid.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from datastore.atomic import atomic_path
from datastore.image_files import DETACHED, read_mask, stored_shape, suffix_of
from datastore.labels import check_sides, renumber
from datastore.nrrd_files import read_segmentation
from datastore.records import Case, Label, NewLabel
from datastore.registry import Registry
from datastore.volume import Volume
from datastore.wording import without_path

REFUSED_FOLDER = "refused"
LARGEST_SEGMENTATION = 8  # layers of the image's size


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
    with refused_uploads_kept(registry, case_id, upload):
        mask = _checked(case, upload, names)
    try:
        return registry.add_label(case, mask, new)
    except ValueError as error:  # an unknown parent
        raise _refused(registry, case_id, upload, error) from error
    except Exception:  # a full disk, a database that is away: the work is kept if anything can be
        with suppress(OSError):
            _keep(registry.labels_folder / case_id / REFUSED_FOLDER, upload)
        raise


@contextmanager
def refused_uploads_kept(registry: Registry, case_id: str, upload: Path) -> Iterator[None]:
    """Whatever goes wrong with an upload in the block, a copy of it stays beside the case's masks.

    Raises:
        RefusedMaskError: In place of whatever was raised.
    """
    try:
        yield
    except RefusedMaskError:
        raise
    except Exception as error:
        raise _refused(registry, case_id, upload, error) from error


def _checked(case: Case, upload: Path, names: Sequence[str | None] | None) -> Volume:
    if suffix_of(upload) in DETACHED:
        raise ValueError(f"expected voxels in the file itself, got a header alone ({suffix_of(upload)})")
    image = Volume(np.broadcast_to(np.uint8(0), case.shape), case.geometry)
    shape = stored_shape(upload)
    if suffix_of(upload) == ".seg.nrrd":
        if math.prod(shape) > LARGEST_SEGMENTATION * math.prod(case.shape):
            raise ValueError(f"segmentation {shape[::-1]} is larger than image {case.shape[::-1]}")
        mask, names = read_segmentation(upload, image)
    else:
        if sorted(shape) != sorted(case.shape):  # before a voxel is read: a small file can claim a huge grid
            raise ValueError(f"mask grid {shape[::-1]} does not match image {case.shape[::-1]}")
        mask = read_mask(upload)
    mask = mask.with_array(renumber(mask.array, names)).on_grid_of(image)
    check_sides(mask.to_lps().array)
    return mask


def _refused(registry: Registry, case_id: str, upload: Path, error: Exception) -> RefusedMaskError:
    """Keep an upload; the error that says so."""
    kept = _keep(registry.labels_folder / case_id / REFUSED_FOLDER, upload)
    reason = without_path(error, upload, "the file")
    return RefusedMaskError(f"mask of case {case_id} refused: {reason} (kept as {kept.name})")


def _keep(folder: Path, upload: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    suffix = suffix_of(upload) or ".bin"
    kept = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{suffix}"
    with atomic_path(kept) as temporary:
        shutil.copyfile(upload, temporary)
    return kept
