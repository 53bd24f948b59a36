"""NSCLC-Radiomics (Lung1): 422 radiotherapy CT with the tumour, and mostly the lungs, as contours.

Source: Aerts et al. 2014, Nature Communications 5:4006; doi:10.7937/K9/TCIA.2015.PF0M9REI. Subjects are called
`LUNG1-001`. Each has a CT series, an RTSTRUCT with `GTV-1` (further primary tumours `GTV-2`, ...), `Lung-Left`,
`Lung-Right` or `Lungs-Total`, and since version 2 a SEG of the same structures, named in its SegmentDescription. The
RTSTRUCT is read; the SEG where there is none, or where it cannot be used. LUNG1-128, imaged after its operation, has
no tumour.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datastore.datasets.reference import Found, PartSides, Reference, attempt
from datastore.datasets.structure_masks import Drawn, drawn_segments, drawn_structures
from datastore.datasets.structure_names import Role
from datastore.datasets.tcia import Subject, read_subject, subject_folders
from datastore.records import QualityFinding, Severity

SUBJECT = r"LUNG1-\d{3}"
NOTE = QualityFinding(
    "tumour_unsure",
    Severity.NOTE,
    "23 tumours of Lung1 are corrupted (Hofmanninger et al. 2020, section III and figure 3c; it does not say which)",
)


def find_lung1(folder: Path, part_sides: PartSides) -> Found:
    """The subjects of Lung1 below a folder; see `reference.Dataset.find`."""
    for name, place in subject_folders(folder, SUBJECT):
        yield attempt(name, partial(_reference, name, place, part_sides))


def _reference(name: str, folder: Path, part_sides: PartSides) -> Reference:
    drawn = _drawn(read_subject(name, folder), part_sides)
    has_lungs = drawn.has_both_lungs or Role.LUNGS in drawn.roles
    tags = ("tumour",) if Role.TUMOUR in drawn.roles else ()
    notes = (NOTE, *drawn.notes) if tags else drawn.notes
    if not tags and not has_lungs:
        raise ValueError("expected the tumour (GTV-1) or the lungs (Lung-Left and Lung-Right), got neither")
    ct = drawn.ct
    return Reference(name, ct.patient, ct.source, "lung1", tags, drawn.read_masks, "Lung1 reference", notes)


def _drawn(subject: Subject, part_sides: PartSides) -> Drawn:
    """The one RTSTRUCT, else the one SEG; if neither can be used, the reason for the first."""
    problem: ValueError | None = None
    for read, paths in ((drawn_structures, subject.structure_sets), (drawn_segments, subject.segmentations)):
        try:
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise ValueError(f"expected one RTSTRUCT and one SEG, got {len(paths)} of a kind: {names}")
            if paths:
                return read(subject, paths[0], part_sides)
        except ValueError as error:
            problem = problem or error
    raise problem or ValueError("has neither an RTSTRUCT nor a SEG")
