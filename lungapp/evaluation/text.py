"""An evaluation in words, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from datastore.wording import printable
from lungapp.evaluation.records import FAILURE_DICE, CaseResult, Evaluation, Outcome
from lungapp.evaluation.run import in_no_mask, never_predicted, only_predicted
from lungapp.evaluation.selection import ALL
from lungapp.evaluation.tables import ModelComparison

SHOWN = 20  # low Dice on the terminal; the files have all


def unscored_lines(evaluation: Evaluation) -> list[str]:
    """Each case that has no score, or not the one of its tumour, and why; models with the same reason in one line."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for result in evaluation.results:
        for word, reason in _shortcomings(result):
            lines.setdefault((result.case, word, reason), []).append(result.model)
    return [
        printable(f"{word}  {case}  [{', '.join(models)}]  {reason}") for (case, word, reason), models in lines.items()
    ]


def _shortcomings(result: CaseResult) -> Iterator[tuple[str, str]]:
    if result.outcome is not Outcome.SCORED:
        yield result.outcome.value, result.reason or ""
    yield from (("not scored", note) for note in result.notes if note.startswith("tumour"))


def low_lines(evaluation: Evaluation) -> list[str]:
    """The scored cases with the lowest Dice, lowest first."""
    found = [
        (dice, result)
        for result in evaluation.results
        if (dice := result.value("dice")) is not None and dice < FAILURE_DICE
    ]
    found.sort(key=lambda pair: pair[0])
    lines = [
        printable(f"DSC {dice:.3f}  {item.case}  [{item.model}]  {'; '.join(item.notes)}".rstrip())
        for dice, item in found[:SHOWN]
    ]
    more = len(found) - SHOWN
    return [*lines, f"and {more} more below {FAILURE_DICE}"] if more > 0 else lines


def comparison_lines(comparisons: Iterable[ModelComparison]) -> list[str]:
    """Each pair of models by their Dice over all cases; the files have the rest."""
    return [printable(item.sentence()) for item in comparisons if item.group == ALL and item.metric == "dice"]


def summary(evaluation: Evaluation) -> str:
    """How many of what."""
    counts = Counter(result.outcome for result in evaluation.results)
    parts = [
        f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome] or outcome is Outcome.SCORED
    ]
    cases, models = len(evaluation.cases), len(evaluation.models)
    return f"{cases} case{'s' * (cases != 1)}, {models} model{'s' * (models != 1)}: {', '.join(parts)}"


def mismatches(evaluation: Evaluation) -> list[str]:
    """What hints at references and masks that are not numbered alike: then the numbers mean nothing."""
    names = only_predicted(evaluation)
    if not names:
        return []
    hint = (
        "; where references do not tell right from left, use --labels whole" if len(evaluation.structures) > 1 else ""
    )
    return [f"no reference has {', '.join(names)}, but masks do: they may not be numbered alike{hint}"]


def gaps(evaluation: Evaluation) -> list[str]:
    """Structures that a model never finds, or that are nowhere: the numbering may be at fault."""
    missing = {model: never_predicted(evaluation, model) for model in evaluation.models}
    nowhere = in_no_mask(evaluation)
    hint = "; if it does not tell right from left, use --labels whole" if len(evaluation.structures) > 1 else ""
    lines = [
        f"no mask of {model} has {', '.join(names)}, references do{hint}" for model, names in missing.items() if names
    ]
    if nowhere:
        lines.append(f"neither references nor masks have {', '.join(nowhere)}: are these their labels (--labels)?")
    return lines
