"""Judging a model on whole synthetic patients that training did not see, disease by disease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from datastore.phantom.lesions import KINDS
from infers.models import Model, load_model
from trainers.cohort_slices import CohortPlan, draw_examination, render

FIRST_JUDGED, APART = 2_000_000, 1_000  # numbers of patients, far from those of training
HEALTHY = "healthy"
CONDITIONS = (HEALTHY, *KINDS)
SIDES = {"right": 1, "left": 2}


def judge(
    model: Model,
    seed: int,
    patients: int,
    say: Callable[[str], None] = lambda _: None,
    conditions: Sequence[str] = CONDITIONS,
) -> dict[str, list[dict[str, Any]]]:
    """Dice of each lung, of the model and of `threshold`, over whole scans of the chest.

    Args:
        model: Finds right and left lung.
        seed: Of the cohort.
        patients: Healthy ones, and of each disease.
        say: Hears of each patient.
        conditions: Which of `CONDITIONS`.

    Returns:
        By condition, one record for each patient: `number`, and `right`, `left`, `threshold_right`, `threshold_left`.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    threshold = load_model("threshold")
    for kind in conditions:
        first = FIRST_JUDGED + APART * CONDITIONS.index(kind)
        diseases = () if kind == HEALTHY else (kind,)
        plan = CohortPlan("anatomy3", seed, patients, first, chest_only=True, diseases=diseases)
        rows[kind] = []
        for number in range(first, first + patients):
            examination = draw_examination(plan, number)
            hu, lungs = render(examination)
            row: dict[str, Any] = {"number": number}
            for prefix, judged in (("", model), ("threshold_", threshold)):
                found = judged.predict(hu, examination.spacing_mm)
                row |= {f"{prefix}{side}": dice(found == label, lungs == label) for side, label in SIDES.items()}
            rows[kind].append(row)
            say(f"{kind} {number}: Dice right {row['right']:.4f}, left {row['left']:.4f}")
    return rows


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two masks, 1.0 where both are empty."""
    either = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(found & truth) / either if either else 1.0
