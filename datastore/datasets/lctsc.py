"""LCTSC, the Lung CT Segmentation Challenge of AAPM 2017: 36 + 24 CT with the lungs as RTSTRUCT contours.

Source: Yang et al. 2017, doi:10.7937/K9/TCIA.2017.3R3FVZ08; Yang et al. 2018, Medical Physics 45(10). Subjects are
called `LCTSC-Train-S1-001` or `LCTSC-Test-S2-101` (institution 1 to 3); each has one CT series and one RTSTRUCT with
`Lung_L`, `Lung_R`, `Heart`, `Esophagus` and `SpinalCord` ("Lung L" in one subject before version 3).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datastore.datasets.reference import Found, PartSides, Reference, attempt, dense_areas_left_out
from datastore.datasets.structure_masks import drawn_structures
from datastore.datasets.tcia import read_subject, subject_folders

SUBJECT = r"LCTSC-(Train|Test)-S\d-\d{3}"
NOTE = dense_areas_left_out(
    "tumour is excluded in most masks and collapsed lung in some "
    "(Hofmanninger et al. 2020, section I and tables III and IV, after the challenge's own description)"
)


def find_lctsc(folder: Path, part_sides: PartSides) -> Found:
    """The subjects of LCTSC below a folder; see `reference.Dataset.find`."""
    for name, place in subject_folders(folder, SUBJECT):
        yield attempt(name, partial(_reference, name, place, part_sides))


def _reference(name: str, folder: Path, part_sides: PartSides) -> Reference:
    subject = read_subject(name, folder)
    if len(subject.structure_sets) != 1:
        raise ValueError(f"expected one RTSTRUCT, got {len(subject.structure_sets)}")
    drawn = drawn_structures(subject, subject.structure_sets[0], part_sides)
    if not drawn.has_both_lungs:
        raise ValueError(f"{subject.structure_sets[0]}: expected the structures Lung_L and Lung_R")
    _, part, site, _ = name.lower().split("-")
    tags = (part, f"site-{site}")
    notes = (NOTE, *drawn.notes)
    return Reference(name, drawn.ct.patient, drawn.ct.source, "lctsc", tags, drawn.read_masks, "LCTSC reference", notes)
