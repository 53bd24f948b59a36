"""Scores of made-up models on made-up locked cases, and rounds that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from datastore.labels import LUNG_NAMES
from datastore.registry import Registry
from datastore.round_records import RoundState
from datastore.schema import RoundRow
from infers.metrics import StructureScore
from trainers.case_scores import CaseScores


def lung_score(name: str, dice: float, hd95_mm: float = 5.0) -> StructureScore:
    """Of a lung of 2 l; a Dice of 0 is a lung that was missed, nan one that is in neither mask."""
    missed, absent = dice == 0, math.isnan(dice)
    distance = math.nan if absent else math.inf if missed else hd95_mm
    return StructureScore(
        name,
        reference_ml=0.0 if absent else 2000.0,
        prediction_ml=0.0 if absent or missed else 2000.0,
        dice=dice,
        jaccard=dice,
        precision=math.nan if missed else dice,
        recall=dice,
        specificity=1.0,
        volume_error_ml=0.0,
        volume_error_percent=0.0,
        hausdorff_mm=distance,
        hausdorff95_mm=distance,
        mean_surface_distance_mm=distance / 5,
        average_symmetric_surface_distance_mm=distance / 5,
        surface_dice=dice,
    )


def case_scores(
    number: int, right: float, left: float | None = None, *, model: str = "unet-new", hd95_mm: float = 5.0, **how: Any
) -> CaseScores:
    dices = right, right if left is None else left
    lungs = tuple(lung_score(name, dice, hd95_mm) for name, dice in zip(LUNG_NAMES, dices, strict=True))
    values: dict[str, Any] = {"tags": (), "reference_id": f"{number:04d}-aa", **how}
    return CaseScores(case_id=f"{number:04d}", model=model, lungs=lungs, **values)


def many_scores(
    dices: Sequence[float], tags: Sequence[tuple[str, ...]] = (), *, model: str = "unet-new", hd95_mm: float = 5.0
) -> list[CaseScores]:
    """One case for each Dice, which both lungs have."""
    return [
        case_scores(number, dice, model=model, hd95_mm=hd95_mm, tags=tags[number - 1] if tags else ())
        for number, dice in enumerate(dices, start=1)
    ]


def usual_dices(count: int, seed: int = 0, spread: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.95 - spread, 0.95 + spread, count)


def add_round(registry: Registry, state: RoundState = RoundState.PUBLISHED, **values: Any) -> int:
    """Enter a round as if it had gone through all its states; its number."""
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        "trigger": "25 corrections",
        "state": str(state),
        "active": False,
        "config": {"epochs": 3},
        "seed": 7,
        "metrics": {},
        "queued_at": now,
        "started_at": now,
        "ended_at": now,
        "progress": {},
        "attempts": 0,
        **values,
    }
    known = set(RoundRow.__table__.columns.keys())
    with registry._write() as session:
        made = RoundRow(**{name: value for name, value in row.items() if name in known})
        session.add(made)
        session.flush()
        return made.number
