"""What an evaluation found, in a few plain sentences for the head of its report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infers.comparison import FEWEST_PAIRS
from infers.metrics import Presence
from lungapp.evaluation.cells import show_percent, show_share
from lungapp.evaluation.comparisons import ModelComparison
from lungapp.evaluation.records import FAILURE_DICE, CaseResult, Evaluation, Outcome, scored
from lungapp.evaluation.selection import ALL, select

NAMED = 6  # cases at most that a sentence names


def headline(evaluation: Evaluation, found: Sequence[ModelComparison]) -> str | None:
    """Which model scores the best Dice, as far as a difference is shown; None where there is nothing to compare.

    Args:
        evaluation: All that was found.
        found: Its comparisons of models.
    """
    dice = [item for item in found if item.metric == "dice" and item.group == ALL]
    if not dice:
        return None
    models = evaluation.models
    if max(item.result.cases for item in dice) < FEWEST_PAIRS:
        return f"There are too few cases to compare {_and(models)}."
    beaten: dict[str, list[str]] = {model: [] for model in models}  # by whom each is beaten
    for item in dice:
        if item.result.winner == "first":
            beaten[item.second].append(item.first)
        elif item.result.winner == "second":
            beaten[item.first].append(item.second)
    for model in models:
        rest = [other for other in models if other != model]
        if all(model in beaten[other] for other in rest):
            return f"{model} agrees best with the references: its DSC is higher than that of {_and(rest)}."
    if not any(beaten.values()):
        return f"No difference in DSC is shown between {_and(models)}."
    losers = [f"{model} scores a lower DSC than {_and(by)}" for model, by in beaten.items() if by]
    return f"No model is shown to be better than every other: {'; '.join(losers)}."


def summary(evaluation: Evaluation) -> list[str]:
    """What there was, how good each model is and where it failed, what is missing, how tumours are covered."""
    models = evaluation.models if evaluation.structures else ()
    overall = select(evaluation).of_all()
    return [
        _extent(evaluation),
        *(_of_model(model, evaluation.of_model(model), overall[place]) for place, model in enumerate(models)),
        _missing(evaluation),
        *_tumours(evaluation),
    ]


def _extent(evaluation: Evaluation) -> str:
    groups = [group for group in evaluation.groups if group]
    where = f" in {len(groups)} groups" if len(groups) > 1 else ""
    return (
        f"{_many(len(evaluation.cases), 'case')}{where}, {_many(len(evaluation.models), 'model')}: "
        f"{len(scored(evaluation.results))} of {_many(len(evaluation.results), 'expected mask')} could be scored."
    )


def _of_model(model: str, results: Sequence[CaseResult], overall: Sequence[CaseResult]) -> str:
    judged = scored(results)
    values = [value for result in scored(overall) if (value := result.value("dice")) is not None]
    if not values:
        return f"{model}: no mask could be scored."
    failed = [result for result in judged if result.is_failure]
    missed = [result for result in judged if any(item.presence is Presence.MISSED for item in result.structures)]
    count = _many(len(values), "case") + (f" of {ALL}" if len(overall) < len(results) else "")
    mean, median = (show_share(float(value)) for value in (np.mean(values), np.median(values)))
    sentence = f"{model}: mean DSC {mean}, median {median} ({count})"
    if failed:
        are = "is" if len(failed) == 1 else "are"
        sentence += f"; {len(failed)} of {len(judged)} masks {are} below {FAILURE_DICE:g}: {_names(failed)}"
    else:
        sentence += f"; none of {_many(len(judged), 'mask')} is below {FAILURE_DICE:g}"
    if missed:
        sentence += f"; a structure is missed altogether in {_names(missed)}"
    return f"{sentence}."


def _missing(evaluation: Evaluation) -> str:
    parts = []
    without = {(item.group, item.case) for item in evaluation.results if item.outcome is Outcome.NO_REFERENCE}
    if without:
        parts.append(f"{_many(len(without), 'case')} without a reference")
    for model in evaluation.models:
        results = evaluation.of_model(model)
        for outcome, word in ((Outcome.NO_PREDICTION, "missing"), (Outcome.FAILED, "not readable or comparable")):
            count = sum(result.outcome is outcome for result in results)
            if count:
                parts.append(f"{_many(count, 'mask')} of {model} {word}")
    return f"Not scored: {', '.join(parts)}." if parts else "Nothing is missing: every mask was scored."


def _tumours(evaluation: Evaluation) -> list[str]:
    parts = []
    for model in evaluation.models:
        shares = [r.tumour_overlap for r in evaluation.of_model(model) if r.tumour_overlap is not None]
        if shares:
            mean, median = (show_percent(float(value)) for value in (np.mean(shares), np.median(shares)))
            parts.append(f"{model} {mean} of a tumour (median {median}, {_many(len(shares), 'case')})")
    return [f"On average the masks cover: {', '.join(parts)}."] if parts else []


def _names(results: Sequence[CaseResult]) -> str:
    names = [result.case for result in results]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
