"""Evaluations without masks, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np

from infers.metrics import StructureScore
from lungapp.evaluation.records import CaseFiles, CaseResult, Evaluation, Outcome

DISTANCES = (
    *("hausdorff_mm", "hausdorff95_mm"),
    *("mean_surface_distance_mm", "average_symmetric_surface_distance_mm"),
)
PERFECT = StructureScore("lung", 3000.0, 3000.0, *[1.0] * 5, 0.0, 0.0, *[0.0] * 4, 1.0)


def lung(name: str, dice: float, hd95: float = 3.0, msd: float = 1.0, **more: float) -> StructureScore:
    """A lung that is in both masks."""
    found = replace(PERFECT, name=name, dice=dice, hausdorff95_mm=hd95, mean_surface_distance_mm=msd)
    return replace(found, **more)  # type: ignore[arg-type]


def missed(name: str) -> StructureScore:
    """A lung that is only in the reference."""
    zeros = dict.fromkeys(("dice", "jaccard", "recall", "surface_dice", "prediction_ml"), 0.0)
    errors = {"volume_error_ml": -3000.0, "volume_error_percent": -100.0, "precision": nan}
    return replace(PERFECT, name=name, **zeros, **errors, **dict.fromkeys(DISTANCES, inf))  # type: ignore[arg-type]


def invented(name: str) -> StructureScore:
    """A lung that is only in the mask."""
    zeros = dict.fromkeys(("dice", "jaccard", "precision", "surface_dice", "reference_ml"), 0.0)
    errors = {"volume_error_ml": 3000.0, "volume_error_percent": nan, "recall": nan}
    return replace(PERFECT, name=name, **zeros, **errors, **dict.fromkeys(DISTANCES, inf))  # type: ignore[arg-type]


def absent(name: str) -> StructureScore:
    """A lung that is in neither."""
    numbers = dict.fromkeys(("dice", "jaccard", "precision", "recall", "surface_dice", *DISTANCES), nan)
    return replace(PERFECT, name=name, reference_ml=0.0, prediction_ml=0.0, **numbers)  # type: ignore[arg-type]


def result(
    model: str, case: str, right: float | StructureScore, left: float | StructureScore | None = None, group: str = ""
) -> CaseResult:
    """A scored case, by the Dice or the score of each lung; one number is that of both."""
    scores = (right, right if left is None else left)
    structures = tuple(
        lung(name, given) if isinstance(given, (int, float)) else replace(given, name=name)
        for name, given in zip(("right_lung", "left_lung"), scores, strict=True)
    )
    return CaseResult(model, case, group, structures=structures)


def unscored(model: str, case: str, outcome: Outcome, group: str = "") -> CaseResult:
    """A case without a score."""
    return CaseResult(model, case, group, outcome, f"{case}: {outcome}")


def evaluation_of(results: Sequence[CaseResult], *, tumours: Sequence[str] = ()) -> Evaluation:
    """An evaluation of some results; the cases named in `tumours` have a tumour's mask."""
    files = {
        (item.group, item.case): CaseFiles(
            item.case, item.group, tumour=Path(f"{item.case}.nii.gz") if item.case in tumours else None
        )
        for item in results
    }
    return Evaluation(tuple(dict.fromkeys(item.model for item in results)), tuple(files.values()), tuple(results))


def by_dice(dice: Mapping[str, Sequence[float]], group: str = "") -> Evaluation:
    """An evaluation of one group by the Dice of each model's cases."""
    return evaluation_of(
        [
            result(model, f"case{place}", value, group=group)
            for model, values in dice.items()
            for place, value in enumerate(values)
        ]
    )


def many_results(seed: int, models: Sequence[str], sizes: Mapping[str, int]) -> list[CaseResult]:
    """Results at random in several groups, with all that can be amiss."""
    random = np.random.default_rng(seed)
    found = []
    for group, size in sizes.items():
        for number in range(size):
            case = f"{group.lower()}{number}"
            if random.random() < 0.1:
                found += [unscored(model, case, Outcome.NO_REFERENCE, group) for model in models]
                continue
            for model in models:
                fate = random.random()
                if fate < 0.1:
                    outcome = Outcome.NO_PREDICTION if fate < 0.05 else Outcome.FAILED
                    found.append(unscored(model, case, outcome, group))
                    continue
                lungs = [
                    lung(
                        "lung",
                        random.uniform(0.8, 1),
                        random.exponential(9),
                        random.exponential(2),
                        volume_error_ml=random.normal(5, 40),
                        surface_dice=random.uniform(0.7, 1),
                    )
                    for _ in range(2)
                ]
                if fate < 0.4:
                    lungs[int(random.integers(2))] = [missed, invented, absent][int(random.integers(3))]("lung")
                overlap = float(random.random()) if random.random() < 0.8 else None
                found.append(replace(result(model, case, *lungs, group=group), tumour_overlap=overlap))
    return found
