"""Judging a model on locked cases: whole volumes, one after the other, each scored lung by lung."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from datastore.volume import Volume
from datastore.wording import first_line, printable
from infers.metrics import score
from infers.models import Model
from infers.segment import segment
from trainers.case_scores import CaseScores


@dataclass(frozen=True)
class LockedCase:
    """A case that judges and never trains.

    Attributes:
        case_id: Of the case.
        image: Reads the scan: (z, y, x) int16 HU.
        reference: Reads the accepted mask: (z, y, x) uint8, 1 right lung, 2 left lung, on the scan's grid.
        tags: Words that the case is found by.
        reference_id: The label version of the mask, or "".
    """

    case_id: str
    image: Callable[[], Volume]
    reference: Callable[[], Volume]
    tags: tuple[str, ...] = ()
    reference_id: str = ""


class JudgingStoppedError(Exception):
    """Judging was asked to stop; what was kept until then need not be done again."""


def judge(
    model: Model,
    cases: Sequence[LockedCase],
    report: Callable[[int, int], None] = lambda done, count: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    known: Sequence[CaseScores] = (),
    keep: Callable[[CaseScores], None] = lambda scores: None,
) -> tuple[CaseScores, ...]:
    """Score a model on every locked case.

    One scan, its mask and its reference are in memory at a time. A case whose scan or reference cannot be read, or do
    not fit one another, becomes a record with the reason: it is never left out in silence.

    Args:
        model: Finds right and left lung.
        cases: Each with another id.
        report: Hears after each case how many of how many are done.
        should_stop: Asked before each case.
        known: Scores made earlier: those of this model on the same reference are not made again, unless they are
            failures.
        keep: Hears of each new score at once, e.g. `JudgedFile.keep`.

    Returns:
        One record for each case, in the order of the cases.

    Raises:
        JudgingStoppedError: If `should_stop` said so.
        ValueError: If two cases have one id.
    """
    ids = [case.case_id for case in cases]
    if len(set(ids)) < len(ids):
        twice = sorted({case_id for case_id in ids if ids.count(case_id) > 1})
        raise ValueError(f"expected every locked case once, got {', '.join(twice)} several times")
    before = {
        (item.case_id, item.reference_id): item
        for item in known
        if item.model == model.version and item.failure is None
    }
    judged: list[CaseScores] = []
    for case in cases:
        if should_stop():
            raise JudgingStoppedError(f"judging was stopped after {len(judged)} of {len(cases)} locked cases")
        scores = before.get((case.case_id, case.reference_id))
        if scores is None:
            scores = _scores_of(model, case)
            keep(scores)
        judged.append(replace(scores, tags=case.tags))
        report(len(judged), len(cases))
    return tuple(judged)


def _scores_of(model: Model, case: LockedCase) -> CaseScores:
    try:
        mask = segment(case.image(), model)  # the scan is gone before the reference comes
        lungs = score(case.reference(), mask)
    except (ValueError, OSError) as error:
        return CaseScores(case.case_id, model.version, case.tags, (), case.reference_id, printable(first_line(error)))
    return CaseScores(case.case_id, model.version, case.tags, lungs, case.reference_id)
