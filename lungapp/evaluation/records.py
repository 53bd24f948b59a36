"""What an evaluation finds: one record for each case and model, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from infers.metrics import StructureScore, mean_score

LEFT_OUT = ("ltrc", "lctsc")  # of "All", as in the paper: their references leave out dense disease, or dominate
FAILURE_DICE = 0.9  # a mean Dice below it is listed as a failure


class Outcome(StrEnum):
    """What became of one case of one model."""

    SCORED = "scored"
    NO_PREDICTION = "missing prediction"
    NO_REFERENCE = "missing reference"
    FAILED = "failed"  # one of its files cannot be read or compared


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of one case lie.

    Attributes:
        case: Its name.
        group: Test set or tag that it belongs to; "" if there are none.
        reference: Its reference mask, or None.
        predictions: Its mask by model; None where a model has none.
        image: Its CT, or None.
        tumour: The mask of its tumour, or None.
        reference_sha256: What the reference's file has to be, where a project knows.
    """

    case: str
    group: str = ""
    reference: Path | None = None
    predictions: tuple[tuple[str, Path | None], ...] = ()
    image: Path | None = None
    tumour: Path | None = None
    reference_sha256: str | None = None


@dataclass(frozen=True)
class CaseResult:
    """One case of one model.

    Attributes:
        model: What the model is called in this evaluation.
        case: Name of the case.
        group: Test set or tag that it belongs to; "" if there are none.
        outcome: What became of it.
        reason: Why there are no scores, in one line; None if there are.
        structures: A score for each structure; empty if there are none.
        tumour_overlap: Share of the tumour inside the lungs, 0..1; None without a tumour's mask.
        notes: What a reader should know, e.g. a label that the reference does not have.
    """

    model: str
    case: str
    group: str = ""
    outcome: Outcome = Outcome.SCORED
    reason: str | None = None
    structures: tuple[StructureScore, ...] = ()
    tumour_overlap: float | None = None
    notes: tuple[str, ...] = ()

    def value(self, metric: str) -> float | None:
        """A metric's mean over the structures that are in the reference or the mask, as the paper averages lungs.

        Args:
            metric: Its key, see `infers.metrics.METRICS`.

        Returns:
            The mean; None where the case has no score or no structure at all.
        """
        return mean_score(self.structures, metric) if self.structures else None

    @property
    def is_failure(self) -> bool:
        """Whether it is to be listed as a failure: no score, or a Dice below 0.9."""
        dice = self.value("dice")
        return self.outcome is not Outcome.SCORED or (dice is not None and dice < FAILURE_DICE)


@dataclass(frozen=True)
class Evaluation:
    """All that was found.

    Attributes:
        models: What the models are called, in the order in which they were given.
        cases: Where the files lie, in the order of the cases' names.
        results: One for each case and model, in that order of cases, then models.
        left_out: Groups that "All" leaves out and "All(L)" has, in lower case.
        tolerance_mm: Of the surface Dice.
        structures: Names of what was scored.
    """

    models: tuple[str, ...]
    cases: tuple[CaseFiles, ...]
    results: tuple[CaseResult, ...]
    left_out: tuple[str, ...] = LEFT_OUT
    tolerance_mm: float = 2.0
    structures: tuple[str, ...] = ("right_lung", "left_lung")

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group, in the order of its first case."""
        return tuple(dict.fromkeys(case.group for case in self.cases))

    def of_model(self, model: str) -> tuple[CaseResult, ...]:
        """The results of one model."""
        return tuple(result for result in self.results if result.model == model)


def scored(results: Iterable[CaseResult]) -> list[CaseResult]:
    """Those that have a score."""
    return [result for result in results if result.outcome is Outcome.SCORED]
