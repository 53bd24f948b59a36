"""A synthetic study as CT image files, as a scanner would send them to an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from datastore.phantom.derived_series import IMAGE_TYPES, Plane
from datastore.phantom.patient import PRONE
from datastore.phantom.plans import PatientPlan, SeriesPlan

INTERCEPT_HU = -1024
FIRST_YEAR = 2015


def uid_of(*words: object) -> UID:
    """A UID that the same words always have.

    >>> uid_of("study", 1) == uid_of("study", 1) != uid_of("study", 2)
    True
    """
    return generate_uid(entropy_srcs=["lungapp phantom", *map(str, words)])


def patient_id(plan: PatientPlan) -> str:
    """PatientID."""
    return f"{plan.name}-{plan.seed}"


def write_dicom_series(
    folder: Path, plan: PatientPlan, series: SeriesPlan, planes: Iterable[Plane], grid: str = ""
) -> str:
    """Write the images of a series, one file each.

    Args:
        folder: Is made; nothing lies there yet.
        plan: Who.
        series: Which of the study's series.
        planes: Its images, from `derived_series.planes`.
        grid: What else the UIDs depend on, e.g. the matrix: other voxels, other UIDs.

    Returns:
        SeriesInstanceUID.
    """
    folder.mkdir(parents=True)
    words = (plan.name, plan.seed, grid)
    uid = uid_of("series", *words, series.number)
    dataset = Dataset()
    _set(dataset, _shared(plan, series, uid_of("study", *words), uid, uid_of("frame", *words)))
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    for number, plane in enumerate(planes, start=1):
        image_uid = uid_of("image", *words, series.number, number)
        _set(dataset, _of_plane(plane, number, image_uid))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = image_uid
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"IM{number:05d}.dcm", write_like_original=False)
    return uid


def _set(dataset: Dataset, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        setattr(dataset, name, value)


def _shared(plan: PatientPlan, series: SeriesPlan, study_uid: str, series_uid: str, frame_uid: str) -> dict[str, Any]:
    """What all images of a series say."""
    patient = plan.patient
    day = plan.seed % 365
    kernel = f"B{10 * round(series.sharpness / 10)}f"
    date = f"{FIRST_YEAR + plan.seed % 5}{1 + day // 31:02d}{1 + day % 28:02d}"
    shared: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": list(IMAGE_TYPES[series.kind]),
        "SOPClassUID": CTImageStorage,
        "StudyDate": date,
        "SeriesDate": date,
        "StudyTime": f"{7 + plan.seed % 12:02d}{plan.seed % 60:02d}00",
        "AccessionNumber": hashlib.sha256(study_uid.encode()).hexdigest()[:12].upper(),
        "Modality": "CT",
        "Manufacturer": "lungapp",
        "ManufacturerModelName": "synthetic phantom",
        "StudyDescription": f"CT {plan.view_kind}",
        "SeriesDescription": series.description,
        "PatientName": f"Synthetic^{plan.name}",
        "PatientID": patient_id(plan),
        "PatientSex": patient.sex[0].upper(),
        "PatientAge": f"{round(patient.age_years):03d}Y",
        "PatientSize": f"{patient.height_cm / 100:.2f}",
        "PatientWeight": f"{patient.bmi * (patient.height_cm / 100) ** 2:.1f}",
        "BodyPartExamined": "CHEST" if plan.view_kind == "chest" else "",
        "SliceThickness": f"{series.thickness_mm:g}",
        "KVP": "120",
        "GantryDetectorTilt": "0",
        "ConvolutionKernel": kernel,
        "PatientPosition": "HFP" if patient.posture == PRONE else "HFS",
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": series_uid,
        "FrameOfReferenceUID": frame_uid,
        "StudyID": str(plan.number),
        "SeriesNumber": series.number,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleIntercept": str(INTERCEPT_HU),
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }
    if patient.contrast != "none":
        shared["ContrastBolusAgent"] = "iodinated"
    return shared


def _of_plane(plane: Plane, number: int, image_uid: str) -> dict[str, Any]:
    rows, columns = plane.hu.shape
    return {
        "SOPInstanceUID": image_uid,
        "AcquisitionNumber": 1,
        "InstanceNumber": number,
        "ImagePositionPatient": [f"{value:.5f}" for value in plane.position_mm],
        "ImageOrientationPatient": [f"{value:g}" for value in plane.orientation],
        "SliceLocation": f"{plane.position_mm[2]:.3f}",
        "Rows": rows,
        "Columns": columns,
        "PixelSpacing": [f"{value:.6f}" for value in plane.pixel_mm],
        "PixelData": (plane.hu.astype("<i4") - INTERCEPT_HU).astype("<i2").tobytes(),
    }
