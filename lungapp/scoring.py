"""MONAI Label's scoring methods: how far models' masks were from what reviewers accepted.

Scores are computed anew on each call and stored nowhere: MONAI Label's own method would write them into what is known
of an image, which here is the registry's, and no client's to change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from datastore.mask_difference import Difference, compare
from datastore.records import Kind, Label
from datastore.registry import EVERY_CASE, Registry
from datastore.registry.standing import LUNGS
from lungapp.correction_effort import began_with, read_version

logger = logging.getLogger(__name__)

Score = float | dict[str, float] | None


class DiceScoring(ScoringMethod):
    """Dice of the mask that a model made of a case against the one that was accepted.

    Args:
        registry: Knows both.
        value: What is told of the comparison of the two.
        description: One sentence for people.
    """

    def __init__(self, registry: Registry, value: Callable[[Difference], Score], description: str) -> None:
        super().__init__(description)
        self._registry = registry
        self._value = value

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, is_stopped: Callable[[], bool] = lambda: False
    ) -> dict[str, Score]:
        """Score every case that has both masks; two masks are in memory at a time.

        Args:
            request: Not used.
            datastore: Not used.
            is_stopped: Asked before each case; once it is true, no more cases are scored.

        Returns:
            By case id; None where a file is missing or damaged, the log says which.
        """
        scores: dict[str, Score] = {}
        for case in self._registry.each_case(EVERY_CASE):
            if is_stopped():
                break
            pair = _pair(self._registry.labels(case.id)) if case.label_count else None
            if pair is None:
                continue
            try:
                scores[case.id] = self._value(compare(*(read_version(label) for label in pair)))
            except (ValueError, OSError) as error:
                logger.warning("case %s cannot be scored: %s", case.id, error)
                scores[case.id] = None
        return scores


def scoring_methods(registry: Registry) -> dict[str, DiceScoring]:
    """`dice`: the mean over the lungs, as MONAI Label's own method gives one number for a case; `dice_per_lung`."""
    what = "Dice of the model's mask against the accepted one"
    return {
        "dice": DiceScoring(registry, lambda found: found.mean_dice, f"{what}, mean of the lungs"),
        "dice_per_lung": DiceScoring(
            registry, lambda found: {name: found.dice[name] for name in found.present}, f"{what}, for each lung"
        ),
    }


def _pair(versions: list[Label]) -> tuple[Label, Label] | None:
    """The model's mask that the accepted one was made on, else the newest, and the accepted one."""
    lungs = [version for version in versions if version.target == LUNGS]
    accepted = next((version for version in lungs if version.kind is Kind.ACCEPTED), None)
    if accepted is None:
        return None
    preliminary = [version for version in lungs if version.made_as is Kind.PRELIMINARY]
    before = began_with(accepted, lungs)[0] or (preliminary[-1] if preliminary else None)
    return None if before is None else (before, accepted)
