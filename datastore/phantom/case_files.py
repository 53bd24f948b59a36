"""The files of one synthetic case: image, lungs, lobes, diseases, and the layout in which the real cohort comes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datastore.atomic import TEMPORARY_PREFIX, atomic_path, fsync_folder
from datastore.nifti import write_nifti
from datastore.phantom.plans import PatientPlan
from datastore.phantom.scans import ONE_LABEL, SyntheticScan
from datastore.volume import Volume

IMAGES, LUNGS, LOBES, REFERENCES = "images", "lungs", "lobes", "references"
LESIONS, TUMOURS, DICOM, DATASET = "lesions", "tumours", "dicom", "dataset"
FOLDERS = (IMAGES, LUNGS, LOBES, REFERENCES, LESIONS, TUMOURS, DICOM, DATASET)
TUMOUR_KINDS = ("mass", "nodules")
OWN_REFERENCE = (*ONE_LABEL, "lctsc")
SUFFIX = ".nii.gz"
IMPORTERS = {"anatomy3": "anatomy3", "ltrc": "ltrc", "vessel12": "vessel12", "lctsc": "pairs", "routine": "pairs"}
"""What `lungapp ingest --dataset` calls the layout of `dataset`, by cohort."""
LAST_VESSEL12 = 99  # names have two digits


@dataclass(frozen=True)
class CaseFolder:
    """Where cases go. What is there already is kept: a case always has the same bytes.

    Attributes:
        folder: The cohort's folder.
    """

    folder: Path

    def write_masks(self, plan: PatientPlan, scan: SyntheticScan, name: str) -> None:
        """Lungs, lobes, diseases that are there, tumours, and the cohort's own reference where it is another one."""
        self._write(scan.lungs, LUNGS, name)
        self._write(scan.lobes, LOBES, name)
        for kind, mask in scan.lesions.items():
            if mask.array.any():
                self._write(mask, f"{LESIONS}/{kind.replace(' ', '-')}", name)
        tumours = [mask.array for kind, mask in scan.lesions.items() if kind in TUMOUR_KINDS]
        if any(mask.any() for mask in tumours):
            self._write(scan.lungs.with_array(np.maximum.reduce(tumours)), TUMOURS, name)
        if plan.cohort in OWN_REFERENCE:
            self._write(scan.reference, REFERENCES, name)

    def write_image(self, scan: SyntheticScan, name: str) -> None:
        """The scan as NIfTI."""
        self._write(scan.image, IMAGES, name)

    def write_dataset(self, plan: PatientPlan, scan: SyntheticScan) -> None:
        """Image and reference once more under the names that the importer of the real cohort knows."""
        image, reference = self.path(IMAGES, plan.name), self.path(REFERENCES, plan.name)
        if plan.cohort == "anatomy3":
            region = "CT_wb" if plan.view_kind == "whole body" else "CTce_ThAb"
            name = f"{10_000_000 + plan.number}_1_{region}"
            self._link(image, f"Volumes/{name}")
            for side, radlex_id in ((1, 1302), (2, 1326)):
                lung = scan.lungs.with_array((scan.lungs.array == side).astype(np.uint8))
                self._write(lung, f"{DATASET}/Segmentations", f"{name}_{radlex_id}_1")
        elif plan.cohort == "ltrc":
            self._link(image, f"{plan.name}_CT")
            self._link(self.path(LOBES, plan.name), f"{plan.name}_LOBES")
        elif plan.cohort == "vessel12":
            if plan.number <= LAST_VESSEL12:
                self._link(image, f"Scans/VESSEL12_{plan.number:02d}")
                self._link(reference, f"Lungmasks/VESSEL12_{plan.number:02d}")
        else:
            self._link(image, f"images/{plan.name}")
            self._link(reference if plan.cohort in OWN_REFERENCE else self.path(LUNGS, plan.name), f"masks/{plan.name}")

    def write_dicom(self, name: str, fill: Callable[[Path], None]) -> None:
        """A folder of DICOM files, whole or not at all; one that is there already is kept.

        Args:
            name: Of the patient's folder.
            fill: Writes the files into the folder that it is given.
        """
        with _building(self.folder / DICOM / name) as building:
            fill(building)

    def path(self, kind: str, name: str) -> Path:
        """The file of a case, e.g. `images/routine-0001.nii.gz`."""
        return self.folder / kind / f"{name}{SUFFIX}"

    def files_in_the_way(self, plan: PatientPlan) -> Iterator[Path]:
        """Files with the name of a case's files."""
        patterns = (f"*/{plan.name}{SUFFIX}", f"{LESIONS}/*/{plan.name}{SUFFIX}", f"{DICOM}/{plan.name}")
        for pattern in patterns:
            yield from self.folder.glob(pattern)

    def _write(self, volume: Volume, kind: str, name: str) -> None:
        path = self.path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with atomic_path(path) as temporary:
                write_nifti(volume, temporary)

    def _link(self, source: Path, name: str) -> None:
        """The same file under a second name; a copy where the file system knows no links."""
        target = self.path(DATASET, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            return
        try:
            os.link(source, target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target`, unless that is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{target.name}")
    building.mkdir()
    try:
        yield building
        for path in building.rglob("*"):
            _sync(path)
        if not target.exists():
            building.rename(target)
            fsync_folder(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, kinds: Iterable[str] = FOLDERS) -> None:
    """Remove what a run that was killed left half-written.

    Args:
        folder: A cohort's folder.
        kinds: The folders in it, and the names of files.
    """
    for kind in kinds:
        found = [*(folder / kind).rglob(f"{TEMPORARY_PREFIX}*"), *folder.glob(f"{TEMPORARY_PREFIX}*-{kind}")]
        for path in found:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
