"""Where a case stands: what follows from its labels and the rules, kept on its row and in the tally.

Everything that changes a case's status or eligibility goes through here, so that counting cases and finding the
next one never has to look at all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import CursorResult, Table, bindparam, select, update
from sqlalchemy.orm import Session

from datastore.records import DONE, Kind, Status
from datastore.schema import CaseRow, LabelRow, TallyRow

LUNGS = "lungs"
TALLY = cast(Table, TallyRow.__table__)
COUNT = (
    update(TALLY)
    .where(TALLY.c.status == bindparam("of"), TALLY.c.eligible == bindparam("is_eligible"))
    .values(count=TALLY.c.count + bindparam("change"))
)


def count_in(session: Session, cases: Iterable[CaseRow]) -> None:
    """Count new cases."""
    for (status, eligible), count in Counter((case.status, case.eligible) for case in cases).items():
        _tally(session, status, eligible, count)


def restate(session: Session, case: CaseRow, versions: Sequence[LabelRow] | None = None) -> None:
    """Bring a case's row up to date after its labels, its exclusion or its reopening changed.

    Args:
        session: Of the transaction.
        case: The row.
        versions: All rows of its labels, the oldest first, where they are at hand.
    """
    before = case.status, case.eligible
    if versions is None:
        versions = session.scalars(select(LabelRow).where(LabelRow.case_id == case.id).order_by(LabelRow.number)).all()
    labels = [row for row in versions if row.target == LUNGS]
    kinds = [Kind(label.kind) for label in labels]
    has_conflict = any(label.conflict and label.kind == Kind.SUBMITTED for label in labels)
    case.status = str(status_of(kinds, has_conflict=has_conflict))
    heads = [label.id for label in labels if Kind(label.kind) in (Kind.SUBMITTED, Kind.ACCEPTED, Kind.REJECTED)]
    case.head_id = heads[-1] if heads else None
    case.eligible = (case.exclusion is None and case.outnumbered is None) or case.overrule is not None
    case.offered = case.eligible and (case.reopened or Status(case.status) not in DONE)
    if before != (case.status, case.eligible):
        _tally(session, *before, -1)
        _tally(session, case.status, case.eligible, 1)
    session.flush()


def status_of(kinds: Sequence[Kind], *, has_conflict: bool) -> Status:
    """The status of a case with masks of these kinds.

    >>> status_of([Kind.PRELIMINARY, Kind.SUBMITTED], has_conflict=False)
    <Status.SUBMITTED: 'submitted'>

    Args:
        kinds: Of its label versions, the oldest first.
        has_conflict: Whether a submitted one was made on an outdated version.
    """
    waiting = kinds.count(Kind.SUBMITTED)
    if waiting:
        return Status.CONFLICT if has_conflict or waiting > 1 else Status.SUBMITTED
    for kind in (Kind.ACCEPTED, Kind.DRAFT, Kind.REJECTED):
        if kind in kinds:
            return Status(kind)
    return Status.PRELIMINARY if kinds else Status.OPEN


def _tally(session: Session, status: str, eligible: bool, change: int) -> None:
    counted = session.execute(COUNT, {"of": status, "is_eligible": eligible, "change": change})
    if isinstance(counted, CursorResult) and counted.rowcount == 0:
        session.add(TallyRow(status=status, eligible=eligible, count=change))
        session.flush()
