"""Judging a model on whole synthetic patients that training did not see, disease by disease."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from datastore.geometry import Geometry
from datastore.phantom.lesions import KINDS
from datastore.volume import Volume
from infers.metrics import score
from infers.models import Model, load_model
from trainers.cohort_slices import CohortPlan, draw_examination, render

FIRST_JUDGED, APART = 2_000_000, 1_000  # numbers of patients, far from those of training
HEALTHY = "healthy"
CONDITIONS = (HEALTHY, *KINDS)
SIDES = "right", "left"


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
        By condition, one record for each patient: `number`, and `right`, `left`, `threshold_right`, `threshold_left`,
        None where neither mask nor truth has that lung.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    threshold = load_model("threshold")
    for kind in conditions:
        first = FIRST_JUDGED + APART * CONDITIONS.index(kind)
        diseases = () if kind == HEALTHY else (kind,)
        plan = CohortPlan("routine", seed, patients, first, chest_only=True, diseases=diseases)
        rows[kind] = []
        for number in range(first, first + patients):
            examination = draw_examination(plan, number)
            hu, lungs = render(examination)
            z, y, x = examination.spacing_mm
            truth = Volume(lungs, Geometry((x, y, z)))
            row: dict[str, Any] = {"number": number}
            for prefix, judged in (("", model), ("threshold_", threshold)):
                found = truth.with_array(judged.predict(hu, examination.spacing_mm))
                dices = (None if math.isnan(one.dice) else one.dice for one in score(truth, found))
                row |= {f"{prefix}{side}": dice for side, dice in zip(SIDES, dices, strict=True)}
            rows[kind].append(row)
            say(f"{kind} {number}: Dice " + ", ".join(f"{side} {row[side]}" for side in SIDES))
    return rows
