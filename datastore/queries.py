"""The registry's SELECT statements, and how a row becomes a record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select

from datastore.geometry import Geometry
from datastore.records import Case, Kind, Source, Status
from datastore.schema import CaseRow, LabelRow, LeaseRow


def newest_first(case_id: str) -> Select[LabelRow]:
    """Label versions of a case, the newest first."""
    return select(LabelRow).where(LabelRow.case_id == case_id).order_by(LabelRow.number.desc())


def label_summary() -> Select[Any, Any, Any]:
    """For each case with labels: its id, how many versions it has, and 1 if one is submitted."""
    submitted = case((LabelRow.kind == str(Kind.SUBMITTED), 1), else_=0)
    return select(
        LabelRow.case_id.label("case_id"),
        func.count().label("label_count"),
        func.max(submitted).label("submitted"),
    ).group_by(LabelRow.case_id)


def status_of(label_count: ColumnElement[int], submitted: ColumnElement[int]) -> ColumnElement[str]:
    """The status of a case with so many labels, one of them submitted or not."""
    return case(
        (submitted == 1, str(Status.SUBMITTED)),
        (label_count > 0, str(Status.PRELIMINARY)),
        else_=str(Status.OPEN),
    )


def live_leases() -> Select[LeaseRow]:
    """Leases that were not ended; one that has run out may be among them until someone asks for a case."""
    return select(LeaseRow).where(LeaseRow.ended_at.is_(None))


def case_query(now: datetime) -> Select[Any, Any, Any, Any, Any]:
    """Everything that `to_case` needs of every case, in the order they were registered."""
    labelled = label_summary().subquery()
    live = select(LeaseRow).where(LeaseRow.ended_at.is_(None), LeaseRow.expires_at > now).subquery()
    return (
        select(
            CaseRow,
            func.coalesce(labelled.c.label_count, 0),
            status_of(labelled.c.label_count, labelled.c.submitted),
            live.c.holder,
            live.c.expires_at,
        )
        .outerjoin(labelled, labelled.c.case_id == CaseRow.id)
        .outerjoin(live, live.c.case_id == CaseRow.id)
        .order_by(CaseRow.number)
    )


def to_case(row: Sequence[Any]) -> Case:
    """The record of one row of `case_query`."""
    stored, label_count, status, holder, expires_at = row
    z, y, x = stored.shape
    return Case(
        id=stored.id,
        source=Source(Path(stored.path), stored.series_uid),
        shape=(z, y, x),
        geometry=Geometry.from_dict(stored.geometry),
        study_uid=stored.study_uid,
        description=stored.description,
        sha256=stored.sha256,
        added_at=stored.added_at,
        status=Status(status),
        label_count=int(label_count),
        leased_by=holder,
        leased_until=expires_at,
    )
