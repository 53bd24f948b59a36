"""Cohorts of synthetic patients: who is in them is drawn here, `render_scan` makes their scans."""

from __future__ import annotations

from typing import Any

import numpy as np

from datastore.phantom.patient import Patient, draw_patient
from datastore.phantom.plans import PatientPlan, SeriesPlan
from datastore.phantom.prevalence import Story, draw_age, draw_diseases, draw_story
from datastore.phantom.protocols import draw_study, draw_view_kind
from datastore.phantom.scans import SyntheticScan, render_scan

__all__ = ["COHORTS", "PatientPlan", "SeriesPlan", "SyntheticScan", "draw_cohort", "draw_plan", "render_scan"]

COHORTS = ("anatomy3", "routine", "ltrc", "lctsc", "vessel12")
"""As the sets that they stand for: VISCERAL Anatomy3, a university hospital's routine, LTRC, LCTSC and VESSEL12."""
FLUID_AND_COLLAPSE = ("atelectasis", "consolidation", "effusion")


def draw_cohort(cohort: str, count: int, seed: int) -> tuple[PatientPlan, ...]:
    """Draw the patients of a cohort.

    Patient n is the same in every cohort of the same name and seed, however many there are.

    Args:
        cohort: One of `COHORTS`.
        count: Patients, 1 or more.
        seed: 0 or more.

    Raises:
        ValueError: If the cohort is unknown, or a number is too small.

    >>> [plan.name for plan in draw_cohort("ltrc", 2, seed=1)]
    ['ltrc-0001', 'ltrc-0002']
    """
    if count < 1:
        raise ValueError(f"expected 1 patient or more, got {count}")
    return tuple(draw_plan(cohort, number, seed) for number in range(1, count + 1))


def draw_plan(cohort: str, number: int, seed: int) -> PatientPlan:
    """Draw one patient of a cohort, by number from 1; see `draw_cohort`."""
    if cohort not in COHORTS:
        raise ValueError(f"unknown cohort {cohort!r}: expected one of {', '.join(COHORTS)}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    random = np.random.default_rng([seed, COHORTS.index(cohort), number])
    story = draw_story(random, cohort)
    kind = draw_view_kind(random, cohort, story)
    patient = _draw_patient(random, cohort, story, kind)
    lesions = draw_diseases(random, story)
    series = draw_study(random, cohort, story, patient, kind)
    diseases = dict.fromkeys(plan.kind for plan in lesions)
    return PatientPlan(
        name=f"{cohort}-{number:04d}",
        cohort=cohort,
        number=number,
        seed=int(random.integers(2**31)),
        patient=patient,
        lesions=lesions,
        pathology=story.pathology,
        tags=tuple(dict.fromkeys([story.pathology, *diseases])),
        left_out=_draw_left_out(random, cohort),
        series=series,
    )


def _draw_patient(random: np.random.Generator, cohort: str, story: Story, kind: str) -> Patient:
    """A patient with the age of the story, scanned as the cohort's real ones were."""
    given: dict[str, Any] = {"age_years": draw_age(random, story)}
    up = ("up", "up")
    if cohort == "anatomy3":
        contrast = "none" if kind == "whole body" else str(random.choice(["venous", "arterial"], p=[0.75, 0.25]))
        given |= {"devices": frozenset(), "contrast": contrast, "posture": "supine"}
    elif cohort == "ltrc":
        prone = random.random() < 0.1
        given |= {"contrast": "none", "inspiration": random.uniform(0.75, 1.0), "arms": up}
        given |= {"devices": frozenset(), "posture": "prone" if prone else "supine"}
    elif cohort == "lctsc":  # on the flat table of radiotherapy, breathing freely
        contrast = "venous" if random.random() < 0.4 else "none"
        given |= {"table": "flat", "arms": up, "posture": "supine", "pillow": False, "blanket": False}
        given |= {"inspiration": random.uniform(0.2, 0.7), "contrast": contrast}
    elif cohort == "vessel12":
        contrast = str(random.choice(["none", "pulmonary", "arterial"], p=[0.5, 0.35, 0.15]))
        given |= {"inspiration": random.uniform(0.7, 1.0), "contrast": contrast, "posture": "supine"}
    elif story.pathology == "trauma":
        given |= {
            "posture": "supine",
            "contrast": str(random.choice(["arterial", "venous", "none"], p=[0.5, 0.3, 0.2])),
        }
        if random.random() < 0.6:
            given["arms"] = ("down", "down")
    return draw_patient(random, **given)


def _draw_left_out(random: np.random.Generator, cohort: str) -> frozenset[str]:
    """Dense diseases that a reference leaves out: tumours in most, collapse in some, as in `datasets.lctsc.NOTE`."""
    if cohort != "lctsc":
        return frozenset()
    out = {"effusion"}
    if random.random() < 0.85:
        out |= {"mass", "nodules"}
    if random.random() < 0.6:
        out |= set(FLUID_AND_COLLAPSE)
    return frozenset(out)
