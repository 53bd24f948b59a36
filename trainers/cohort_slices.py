"""Training slices of synthetic cohorts: patients, views, diseases, scanners and grids vary with the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from datastore.phantom.acquisition import Acquisition, acquire, draw_acquisition
from datastore.phantom.anatomy import build_scene
from datastore.phantom.cohorts import COHORTS, draw_plan
from datastore.phantom.lesions import LesionPlan, add_lesions, draw_lesions
from datastore.phantom.patient import Patient
from datastore.phantom.view import View, draw_view
from infers.preprocess import Preprocessing
from trainers.slice_cache import SliceCache
from trainers.slices import VolumeSlices

VIEW_SHARES = {"abdomen with lung bases": 0.1, "head and neck": 0.06}
"""Share of patients of whom that is shown instead of what their cohort shows: slices without lung, and its ends."""
WINDOWS = {"whole": 0.68, "narrow": 0.1, "one lung": 0.14, "part": 0.08}
"""What of each slice is kept: many scans of real life are reconstructed around one lung, or cut the skin off."""
THICKNESS_MM = {"thin": (1.0, 2.4), "usual": (2.6, 5.0), "thick": (5.2, 7.4)}
THICKNESS_SHARES = 0.3, 0.45, 0.25
THIN_SLICES = 130  # rendered at most, however thin: the cost of a patient


@dataclass(frozen=True)
class CohortPlan:
    """Which patients to render.

    Attributes:
        cohort: One of `COHORTS`.
        seed: Of the cohort.
        patients: How many.
        first: Number of the first patient.
        slices: Kept of each patient at most, evenly spread.
        chest_only: Whether all views are whole slices of the chest, as for judging.
        diseases: That every patient has, in place of those of the cohort; () for healthy ones.
    """

    cohort: str
    seed: int
    patients: int
    first: int = 0
    slices: int = 44
    chest_only: bool = False
    diseases: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown cohorts.

        Raises:
            ValueError: If there is no cohort of that name.
        """
        if self.cohort not in COHORTS:
            raise ValueError(f"expected a cohort of {', '.join(COHORTS)}, got {self.cohort!r}")


@dataclass(frozen=True, eq=False)
class Examination:
    """One scan of one patient, drawn but not rendered.

    Attributes:
        patient: Who.
        view: Which part.
        lesions: Diseases.
        spacing_mm: (z, y, x) of the scan.
        acquisition: How it is made.
        window: What of each slice is kept, one of `WINDOWS`.
        seed: Of lesions, noise and window.
    """

    patient: Patient
    view: View
    lesions: tuple[LesionPlan, ...]
    spacing_mm: tuple[float, float, float]
    acquisition: Acquisition
    window: str
    seed: int


def cohort_slices(plan: CohortPlan, cache: SliceCache, how: Preprocessing = Preprocessing()) -> Iterator[VolumeSlices]:
    """Render patient after patient, or take them from the cache; the same plan gives the same slices.

    A patient's place in the cache depends on nothing but the patient: plans that have it in common share it.
    """
    for number in range(plan.first, plan.first + plan.patients):
        drawn_from = [plan.cohort, plan.seed, number, plan.slices, plan.chest_only, plan.diseases]
        source = hashlib.sha256(json.dumps(drawn_from).encode()).hexdigest()
        slices = cache.volume(source, source, how, partial(_rendered, plan, number))
        yield VolumeSlices(slices, f"{plan.cohort} {plan.seed} {number}")


def _rendered(plan: CohortPlan, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scan and lungs of a patient; `plan.slices` of them at most, evenly spread."""
    hu, lungs = render(draw_examination(plan, number))
    kept = np.unique(np.linspace(0, len(hu) - 1, min(len(hu), plan.slices)).round().astype(int))
    return hu[kept], lungs[kept]


def draw_examination(plan: CohortPlan, number: int) -> Examination:
    """Draw the examination of that number; patient and diseases are those of `draw_plan`."""
    drawn = draw_plan(plan.cohort, number + 1, plan.seed)
    random = np.random.default_rng([plan.seed, number])
    view = drawn.main.view
    other = _one_of(random, {"": 1 - sum(VIEW_SHARES.values()), **VIEW_SHARES})
    if plan.chest_only:
        view = draw_view(random, drawn.patient, "chest")
    elif other:
        view = draw_view(random, drawn.patient, other)
    lesions = drawn.lesions
    if plan.diseases is not None:
        lesions = draw_lesions(random, plan.diseases) if plan.diseases else ()
    spacing_mm = _draw_spacing(random, view)
    return Examination(
        patient=drawn.patient,
        view=view,
        lesions=lesions,
        spacing_mm=spacing_mm,
        acquisition=draw_acquisition(random, spacing_mm),
        window="whole" if plan.chest_only or view.kind == "head and neck" else _one_of(random, WINDOWS),
        seed=int(random.integers(2**31)),
    )


def render(examination: Examination) -> tuple[np.ndarray, np.ndarray]:
    """The scan, and its lungs.

    Returns:
        (z, y, x) int16 Hounsfield units and (z, y, x) uint8: 1 right lung, 2 left lung.
    """
    random = np.random.default_rng(examination.seed)
    patient, view, spacing_mm = examination.patient, examination.view, examination.spacing_mm
    slices, y, x = view.shape(spacing_mm)
    most = THIN_SLICES if spacing_mm[0] <= THICKNESS_MM["thin"][1] else slices
    (bottom, y_mm, x_mm), shape = view.centre_mm, (min(slices, most), y, x)
    # where thin slices do not reach from end to end, any part of the view will do
    spare_mm = (slices - shape[0]) * spacing_mm[0] / 2
    scene = build_scene(patient, shape, spacing_mm, (bottom + random.uniform(-spare_mm, spare_mm), y_mm, x_mm))
    if examination.lesions:
        scene, _ = add_lesions(scene, examination.lesions, random, posture=patient.posture)
    hu = acquire(
        scene.hu, spacing_mm, examination.acquisition, random, bone=scene.bone, metal=scene.metal, lungs=scene.lungs
    )
    rows, columns = _window(examination.window, scene.lungs, random)
    return np.ascontiguousarray(hu[:, rows, columns]), np.ascontiguousarray(scene.lungs[:, rows, columns])


def _draw_spacing(random: np.random.Generator, view: View) -> tuple[float, float, float]:
    kind = str(random.choice(list(THICKNESS_MM), p=THICKNESS_SHARES))
    if view.high_z_mm - view.low_z_mm > 450 and kind == "usual":
        kind = "thick"
    pixel_mm = view.width_mm / int(random.integers(200, 321))
    return float(random.uniform(*THICKNESS_MM[kind])), pixel_mm, pixel_mm


def _window(kind: str, lungs: np.ndarray, random: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns to keep."""
    height, width = lungs.shape[1:]
    if kind == "narrow":
        top, bottom, left, right = random.uniform(0, 0.14, 4)
        return _span(top, 1 - bottom, height), _span(left, 1 - right, width)
    if kind == "part":
        (high, wide), (top, left) = random.uniform(0.45, 0.75, 2), random.uniform(0, 0.45, 2)
        return _span(top, min(top + high, 1.0), height), _span(left, min(left + wide, 1.0), width)
    side = 1 + int(random.integers(2))
    shown = (lungs == side).any(axis=0)
    if kind == "whole" or not shown.any():
        return slice(None), slice(None)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    top, bottom, left, right = random.uniform(-0.03, 0.1, 4)  # of the field of view, beyond the lung
    return (
        _span(max(rows[0] / height - top, 0), min(rows[-1] / height + bottom, 1), height),
        _span(max(columns[0] / width - left, 0), min(columns[-1] / width + right, 1), width),
    )


def _span(first: float, end: float, count: int) -> slice:
    return slice(round(first * count), round(end * count))


def _one_of(random: np.random.Generator, shares: dict[str, float]) -> str:
    return str(random.choice(list(shares), p=list(shares.values())))
