"""The cases of an evaluation that went worst: for a list, and for the pictures."""

from __future__ import annotations

from lungapp.evaluation.records import CaseResult, Evaluation, Outcome, scored

WORST_FIRST = (Outcome.FAILED, Outcome.NO_PREDICTION, Outcome.SCORED, Outcome.NO_REFERENCE)


def failures(evaluation: Evaluation) -> tuple[CaseResult, ...]:
    """Results without a score or with a Dice below 0.9, worst first.

    Those that failed come first, then missing masks, then the lowest Dice; missing references, for which no model is to
    blame, come last.
    """
    found = [result for result in evaluation.results if result.is_failure]
    return tuple(sorted(found, key=lambda result: (WORST_FIRST.index(result.outcome), result.value("dice") or 0.0)))


def worst(evaluation: Evaluation, count: int) -> tuple[CaseResult, ...]:
    """The scored cases of the lowest Dice of any model, lowest first; each case once, with the model that did worst."""
    found = [(dice, result) for result in scored(evaluation.results) if (dice := result.value("dice")) is not None]
    lowest: dict[tuple[str, str], CaseResult] = {}
    for _, result in sorted(found, key=lambda pair: pair[0]):
        lowest.setdefault((result.group, result.case), result)
    return tuple(lowest.values())[: max(0, count)]
