"""Writes small CT series as scanners do, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(
    folder: Path,
    hu: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 0.7),
    origin_mm: tuple[float, float, float] = (-10.0, -20.0, 100.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    step_mm: tuple[float, float, float] | None = None,
    series_uid: str | None = None,
    skip: tuple[int, ...] = (),
    prefix: str = "slice",
    **overrides: Any,
) -> list[Path]:
    """One file for each slice of (z, y, x) Hounsfield units; attributes by keyword, None leaves one out.

    Args:
        spacing_mm: Of slices, rows, columns.
        step_mm: From one slice to the next; along the normal if not given.
        skip: Slices that are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.array(orientation[:3], float), np.array(orientation[3:], float)
    step = np.cross(rows, columns) * spacing_mm[0] if step_mm is None else np.array(step_mm)
    uid, study = series_uid or generate_uid(), generate_uid()
    order = np.random.default_rng(0).permutation(len(hu))  # file names do not follow positions
    paths = []
    for number, index in enumerate(order):
        if index in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{prefix}-{number:03d}.dcm"
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        attributes: dict[str, Any] = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": uid,
            "SeriesDescription": "Thorax 2.5 B40f",
            "PatientName": "Doeman^Janeway",
            "PatientID": "secret-4.w1",
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": hu.shape[1],
            "Columns": hu.shape[2],
            "PixelSpacing": [str(spacing_mm[1]), str(spacing_mm[2])],
            "SliceThickness": str(spacing_mm[0]),
            "ImagePositionPatient": [str(round(v, 6)) for v in np.array(origin_mm) + index * step],
            "ImageOrientationPatient": [str(round(float(v), 8)) for v in orientation],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "PixelData": (hu[index].astype(np.int32) + 1024).astype("<u2").tobytes(),
        }
        for name, value in {**attributes, **overrides}.items():
            if value is not None:
                setattr(dataset, name, value)
        dataset.save_as(path, write_like_original=False)
        paths.append(path)
    return paths
