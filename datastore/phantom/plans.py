"""A synthetic patient's visit to the department as it is planned: who, with which diseases, in which series."""

from __future__ import annotations

from dataclasses import dataclass

from datastore.phantom.lesions import LesionPlan
from datastore.phantom.patient import Patient
from datastore.phantom.view import View

VOLUME, LOCALIZER, MONITORING, REFORMAT, PROJECTION = "volume", "localizer", "monitoring", "reformat", "projection"
SERIES_KINDS = (VOLUME, LOCALIZER, MONITORING, REFORMAT, PROJECTION)


@dataclass(frozen=True)
class SeriesPlan:
    """One series of a study.

    Attributes:
        number: SeriesNumber, from 1.
        kind: One of `SERIES_KINDS`: axial slices of the patient; a localizer; slices at one place while the contrast
            medium arrives; coronal slices, or maximum intensity projections, made from the study's main series.
        description: SeriesDescription.
        view: The box that is scanned.
        thickness_mm: Of a slice.
        increment_mm: From slice to slice; in a volume a whole multiple of the main series' increment.
        sharpness: Of the reconstruction kernel, see `kernels.kernel_of`.
        seed: Of everything that the scanner adds.
    """

    number: int
    kind: str
    description: str
    view: View
    thickness_mm: float
    increment_mm: float
    sharpness: float
    seed: int

    @property
    def slice_count(self) -> int:
        """Axial slices that fill the view."""
        return self.view.shape((self.increment_mm, 1.0, 1.0))[0]


@dataclass(frozen=True)
class PatientPlan:
    """One patient of a cohort; nothing is rendered yet.

    Attributes:
        name: Of the case, e.g. "routine-0007".
        cohort: One of `COHORTS`.
        number: Within the cohort, from 1.
        seed: Of the shapes that are no parameters.
        patient: Who.
        lesions: Diseases with all of their parameters.
        pathology: What the patient came with, e.g. "pneumonia"; "normal" for nothing.
        tags: Pathology and diseases, in words.
        left_out: Diseases that the cohort's own reference leaves out of the lungs.
        series: The study, in the order in which it was made.
    """

    name: str
    cohort: str
    number: int
    seed: int
    patient: Patient
    lesions: tuple[LesionPlan, ...]
    pathology: str
    tags: tuple[str, ...]
    left_out: frozenset[str]
    series: tuple[SeriesPlan, ...]

    @property
    def main(self) -> SeriesPlan:
        """The series that the case is: the one of most slices, the first of those."""
        return max((one for one in self.series if one.kind == VOLUME), key=lambda one: one.slice_count)

    @property
    def view_kind(self) -> str:
        """What the main series shows, one of `view.KINDS`."""
        return self.main.view.kind
