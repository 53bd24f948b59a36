"""Writes subjects in the folders that the NBIA Data Retriever makes, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dicom_series import write_series
from pydicom.uid import generate_uid

from datastore.datasets import Missing, Reference, references
from datastore.image_files import read_ct
from datastore.phantom import Phantom
from datastore.volume import Volume
from infers.sides import separate_sides

FRAME_UID = generate_uid()


def part_sides(image: Volume, whole: Volume) -> Volume:
    """The real parting of lungs, as the program hands it in."""
    upright = whole.to_lps()
    sides = separate_sides(upright.array > 0, upright.spacing_zyx_mm, image.to_lps().array)
    return whole.with_lps_array(sides)


def study_folder(root: Path, subject: str) -> Path:
    return root / subject / "12-13-2003-NA-RTRCCTTHORAX8FHigh Adult-15875"


def write_ct(root: Path, subject: str, phantom: Phantom, **how: Any) -> str:
    """A subject's CT on a phantom's grid; gives its SeriesInstanceUID."""
    uid = generate_uid()
    x, y, z = phantom.image.geometry.spacing_mm
    attributes: dict[str, Any] = {
        "spacing_mm": (z, y, x),
        "origin_mm": phantom.image.geometry.origin_mm,
        "FrameOfReferenceUID": FRAME_UID,
        "PatientID": subject,
        "series_uid": uid,
    }
    folder = study_folder(root, subject) / "0.000000-CTP1B3RespCT  3.0  B30f  50 Ex-86710"
    write_series(folder, phantom.image.array, **{**attributes, **how})
    return uid


def structures_path(root: Path, subject: str) -> Path:
    return study_folder(root, subject) / "1.000000-.simplified-17709" / "1-1.dcm"


def found(dataset: str, folder: Path) -> dict[str, Reference | Missing]:
    return {item.name: item for item in references(dataset, folder, part_sides)}


def masks(item: Reference | Missing) -> dict[str, Volume]:
    """The masks of a case that is there."""
    assert isinstance(item, Reference), item
    return item.read_masks(read_ct(item.source.path, item.source.series_uid))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))
