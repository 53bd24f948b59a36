"""Writes small RTSTRUCT files as treatment planning systems do, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from skimage.measure import find_contours

from datastore.geometry import Geometry


def write_rtstruct(
    path: Path,
    structures: Mapping[str, Sequence[np.ndarray]],
    *,
    series_uid: str,
    frame_uid: str,
    kind: str = "CLOSED_PLANAR",
    **overrides: Any,
) -> Path:
    """One structure for each name with its (N, 3) contours in LPS mm; attributes by keyword."""
    path.parent.mkdir(parents=True, exist_ok=True)
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    study = Dataset()
    study.RTReferencedSeriesSequence = DicomSequence([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = frame_uid
    frame.RTReferencedStudySequence = DicomSequence([study])
    rois, drawn = [], []
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame_uid
        rois.append(roi)
        item = Dataset()
        item.ReferencedROINumber = number
        item.ContourSequence = DicomSequence([_contour(points, kind) for points in contours])
        drawn.append(item)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    attributes: dict[str, Any] = {
        "SOPClassUID": RTStructureSetStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": generate_uid(),
        "Modality": "RTSTRUCT",
        "ReferencedFrameOfReferenceSequence": DicomSequence([frame]),
        "StructureSetROISequence": DicomSequence(rois),
        "ROIContourSequence": DicomSequence(drawn),
    }
    for name, value in {**attributes, **overrides}.items():
        setattr(dataset, name, value)
    dataset.save_as(path, write_like_original=False)
    return path


def _contour(points: np.ndarray, kind: str) -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.6f}"[:16] for value in np.asarray(points, float).ravel()]
    return item


def outlines(mask: np.ndarray, geometry: Geometry) -> list[np.ndarray]:
    """Contours in LPS mm around a (z, y, x) bool mask, slice by slice, halfway between the voxels' centres."""
    contours = []
    for k, plane in enumerate(mask):
        for line in find_contours(np.pad(plane.astype(float), 1), 0.5):
            rows, columns = line[:-1].T - 1
            contours.append(to_patient(geometry, columns, rows, k))
    return contours


def to_patient(geometry: Geometry, i: np.ndarray, j: np.ndarray, k: float) -> np.ndarray:
    """(N, 3) LPS mm of index coordinates on one slice."""
    index = np.stack([i, j, np.full(len(i), float(k)), np.ones(len(i))])
    return (geometry.affine @ index)[:3].T
