"""One planned case made from beginning to end: rendered, scanned, written, and told about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datastore.phantom.case_files import CaseFolder
from datastore.phantom.derived_series import planes
from datastore.phantom.dicom_files import patient_id, write_dicom_series
from datastore.phantom.patient import PRONE
from datastore.phantom.plans import VOLUME, PatientPlan, SeriesPlan
from datastore.phantom.scans import SyntheticScan, scan_scene, sick_scene

AS_NIFTI, AS_DICOM = "nifti", "dicom"


@dataclass(frozen=True)
class Making:
    """How cases are made.

    Attributes:
        size: Pixels of the in-plane matrix.
        slices: Of the main series; None for what its increment gives.
        form: "nifti", or "dicom" for the whole study.
    """

    size: int
    slices: int | None
    form: str


def make_case(folder: Path, plan: PatientPlan, making: Making) -> list[dict[str, Any]]:
    """Render a patient and write the files.

    Args:
        folder: The cohort's folder.
        plan: Who.
        making: How.

    Returns:
        A row of the table of cases for each volume that was written, the main series first.
    """
    files = CaseFolder(folder)
    scene, masks = sick_scene(plan, making.size, making.slices)
    main = scan_scene(plan, plan.main, scene, masks)
    if making.form == AS_NIFTI:
        files.write_image(main, plan.name)
        files.write_masks(plan, main, plan.name)
        files.write_dataset(plan, main)
        return [_row(plan, plan.main, main, plan.name)]
    rows: list[dict[str, Any]] = []
    grid = f"{making.size} {making.slices}"
    prone = plan.patient.posture == PRONE and plan.seed % 2 == 0  # as some scanners turn them

    def fill(building: Path) -> None:
        for series in plan.series:
            own = series.kind == VOLUME and series is not plan.main
            scan = scan_scene(plan, series, scene, masks) if own else main
            name = plan.name if series is plan.main else f"{plan.name}_s{series.number:02d}"
            into = building / "study" / name
            uid = write_dicom_series(into, plan, series, planes(scan.image, series, prone=prone), grid)
            if series.kind == VOLUME:
                files.write_masks(plan, scan, name)
                rows.append(_row(plan, series, scan, name) | {"patient_id": patient_id(plan), "series_uid": uid})

    files.write_dicom(plan.name, fill)
    return sorted(rows, key=lambda row: str(row["case"]))


def _row(plan: PatientPlan, series: SeriesPlan, scan: SyntheticScan, name: str) -> dict[str, Any]:
    """What the table of cases says of a volume."""
    z, y, x = scan.image.spacing_zyx_mm
    voxel_ml = z * y * x / 1000
    lungs = np.bincount(scan.lungs.array.ravel(), minlength=3) * voxel_ml
    lesions = {kind: int(np.count_nonzero(mask.array)) * voxel_ml for kind, mask in scan.lesions.items()}
    patient = plan.patient
    row: dict[str, Any] = {
        "case": name,
        "cohort": plan.cohort,
        "pathology": plan.pathology,
        "tags": "; ".join(plan.tags),
        "lesions_ml": "; ".join(f"{kind} {ml:.1f}" for kind, ml in lesions.items() if ml),
        "left_out": "; ".join(kind for kind, ml in lesions.items() if ml and kind in plan.left_out),
        "right_ml": round(float(lungs[1]), 1),
        "left_ml": round(float(lungs[2]), 1),
        "seed": plan.seed,
        "sex": patient.sex,
        "age": round(patient.age_years),
        "bmi": round(patient.bmi, 1),
        "posture": patient.posture,
        "contrast": patient.contrast,
        "view": plan.view_kind,
        "series_description": series.description,
        "slices": len(scan.image.array),
        "thickness_mm": series.thickness_mm,
        "spacing_mm": f"{x:.4f} {y:.4f} {z:.4f}",
        "patient_id": "",
        "series_uid": "",
    }
    return row
