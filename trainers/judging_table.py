"""Champion and candidate side by side: over all locked cases, per lung and per tag, and case by case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datastore.labels import LUNG_NAMES
from infers.comparison import compare_paired
from infers.metrics import METRICS
from trainers.case_scores import JUDGED_BY, PERFECT, CaseScores

ALL = ""  # every locked case; both lungs
HIGHER_IS_BETTER = {metric.key: metric.higher_is_better for metric in METRICS}


@dataclass(frozen=True)
class Row:
    """One metric over a group of locked cases.

    Attributes:
        tag: What the cases have in common; "" for all of them.
        lung: `right_lung`, `left_lung`, or "" for the mean of a case's lungs.
        metric: One of `JUDGED_BY`.
        cases: How many cases both models have a finite value for.
        left_out: How many have none: unreadable, a lung in neither mask, or one missed, whose distances are infinite.
        champion: Mean over those cases; None without a champion or without cases.
        candidate: The same.
        difference: Candidate minus champion.
        low: Lower end of the 95 % paired bootstrap interval of the difference; None with fewer than 6 cases.
        high: Its upper end.
    """

    tag: str
    lung: str
    metric: str
    cases: int
    left_out: int
    champion: float | None
    candidate: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CaseChange:
    """What became of one locked case.

    Attributes:
        case_id: Of the case.
        tags: Of the case.
        champion: Mean Dice of its lungs by the champion; None without a champion, or if it could not be judged.
        candidate: By the candidate.
        missed: Lungs of which the candidate finds nothing.
        failure: Why the case could not be judged, or None.
    """

    case_id: str
    tags: tuple[str, ...]
    champion: float | None
    candidate: float | None
    missed: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def difference(self) -> float | None:
        """Candidate minus champion."""
        return None if self.champion is None or self.candidate is None else self.candidate - self.champion


def judging_table(champion: Sequence[CaseScores] | None, candidate: Sequence[CaseScores]) -> Iterator[Row]:
    """All rows: of all cases and then of each tag, for both lungs and each of them.

    Args:
        champion: On the same cases in the same order, or None.
        candidate: At least one case.
    """
    tags = sorted({tag for item in candidate for tag in item.tags})
    for tag in (ALL, *tags):
        places = [place for place, item in enumerate(candidate) if tag == ALL or tag in item.tags]
        ours = [candidate[place] for place in places]
        theirs = None if champion is None else [champion[place] for place in places]
        for lung in (ALL, *LUNG_NAMES):
            for metric in JUDGED_BY:
                yield _row(tag, lung, metric, theirs, ours)


def case_changes(champion: Sequence[CaseScores] | None, candidate: Sequence[CaseScores]) -> tuple[CaseChange, ...]:
    """Every case, those that could not be judged first, then from the largest loss to the largest gain."""
    before = [None] * len(candidate) if champion is None else [item.mean("dice") for item in champion]
    failed = [None] * len(candidate) if champion is None else [item.failure for item in champion]
    changes = [
        CaseChange(item.case_id, item.tags, dice, item.mean("dice"), item.missed, item.failure or failure)
        for item, dice, failure in zip(candidate, before, failed, strict=True)
    ]
    return tuple(sorted(changes, key=_from_the_worst))


def _from_the_worst(change: CaseChange) -> tuple[float, str]:
    value = change.candidate if change.difference is None else change.difference
    return -math.inf if value is None or change.failure is not None else value, change.case_id


def _row(
    tag: str, lung: str, metric: str, champion: Sequence[CaseScores] | None, candidate: Sequence[CaseScores]
) -> Row:
    values = [_value(item, lung, metric) for item in candidate]
    if champion is None:
        there = [value for value in values if value is not None and math.isfinite(value)]
        mean = sum(there) / len(there) if there else None
        return Row(tag, lung, metric, len(there), len(values) - len(there), None, mean)
    before = [_value(item, lung, metric) for item in champion]
    if lung != ALL:
        values, before = _with_absent(candidate, values, before, metric), _with_absent(champion, before, values, metric)
    found = compare_paired(before, values, higher_is_better=HIGHER_IS_BETTER[metric])
    numbers = (found.mean_first, found.mean_second, found.mean_difference, found.low, found.high)
    return Row(tag, lung, metric, found.cases, found.left_out, *(_known(number) for number in numbers))


def _value(scores: CaseScores, lung: str, metric: str) -> float | None:
    return scores.mean(metric) if lung == ALL else scores.lung(lung, metric)


def _with_absent(
    scores: Sequence[CaseScores], ours: Sequence[float | None], theirs: Sequence[float | None], metric: str
) -> list[float | None]:
    """A model that rightly finds no lung where the other one does is perfect there, else that would not count."""
    return [
        PERFECT[metric] if our is None and their is not None and item.failure is None else our
        for item, our, their in zip(scores, ours, theirs, strict=True)
    ]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
