"""How rows become records, and the one SELECT that cases come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from datastore.geometry import Geometry
from datastore.quality import from_plain
from datastore.records import Case, Event, Kind, Label, Lease, Split, Status
from datastore.registry.sessions import Sessions, UnknownCaseError
from datastore.schema import CaseRow, EventRow, LabelRow, LeaseRow, PatientRow, TagRow


class Records(Sessions):
    """Rows into records."""

    def _case(self, session: Session, case_id: str) -> Case:
        row = session.execute(ONE_CASE, {"case_id": case_id}).one_or_none()
        if row is None:
            raise UnknownCaseError(f"no case {case_id!r}")
        return self._to_case(row, session.scalars(TAGS, {"case_id": case_id}))

    def _row(self, session: Session, case_id: str) -> CaseRow:
        row = session.scalar(ONE_ROW, {"case_id": case_id})
        if row is None:
            raise UnknownCaseError(f"no case {case_id!r}")
        return row

    def _label_row(self, session: Session, label_id: str) -> LabelRow:
        row = session.get(LabelRow, label_id)
        if row is None:
            raise UnknownCaseError(f"no label {label_id!r}")
        return row

    def _cases(self, session: Session, query: Select[Any, Any, Any]) -> list[Case]:
        rows = session.execute(query).all()
        tags = _tags_of(session, [row[0].id for row in rows])
        return [self._to_case(row, tags.get(row[0].id, ())) for row in rows]

    def _to_case(self, row: Sequence[Any], tags: Iterable[str]) -> Case:
        stored, split, lease = row
        z, y, x = stored.shape
        is_live = lease is not None and lease.expires_at > datetime.now(UTC)
        return Case(
            id=stored.id,
            source=self._unseal(stored.location),
            shape=(z, y, x),
            geometry=Geometry.from_dict(stored.geometry),
            study_uid=stored.study_uid,
            description=stored.description,
            sha256=stored.sha256,
            patient=stored.patient_key,
            split=Split(split),
            cohort=stored.cohort,
            tags=tuple(sorted(tags)),
            phenotype=stored.phenotype,
            exclusion=stored.exclusion or stored.outnumbered,
            overrule=stored.overrule,
            added_at=stored.added_at,
            status=Status(stored.status),
            label_count=stored.label_count,
            head=stored.head_id,
            leased_by=lease.holder if is_live else None,
            leased_until=lease.expires_at if is_live else None,
        )

    def _to_label(self, row: LabelRow) -> Label:
        return Label(
            id=row.id,
            case_id=row.case_id,
            number=row.number,
            kind=Kind(row.kind),
            made_as=Kind(row.made_as),
            author=row.author,
            tool=row.tool,
            client_id=row.client_id,
            model=row.model,
            parent=row.parent_id,
            conflict=row.conflict and row.kind == Kind.SUBMITTED,
            sha256=row.sha256,
            path=self.labels_folder / row.path,
            seconds=row.seconds,
            edited_ml=row.edited_ml,
            target=row.target,
            findings=None if row.findings is None else from_plain(row.findings),
            created_at=row.created_at,
        )


def case_query() -> Select[Any, Any, Any]:
    """Everything that a case record needs but its tags."""
    live = (LeaseRow.case_id == CaseRow.id) & LeaseRow.ended_at.is_(None)
    return (
        select(CaseRow, PatientRow.split, LeaseRow)
        .join(PatientRow, PatientRow.key == CaseRow.patient_key)
        .outerjoin(LeaseRow, live)
    )


ONE_CASE = case_query().where(CaseRow.id == bindparam("case_id"))
ONE_ROW = select(CaseRow).where(CaseRow.id == bindparam("case_id"))
TAGS = select(TagRow.tag).where(TagRow.case_id == bindparam("case_id"))


def to_lease(row: LeaseRow) -> Lease:
    """The record of a lease."""
    return Lease(row.case_id, row.holder, row.granted_at, row.expires_at, row.base_id)


def to_event(row: EventRow) -> Event:
    """The record of an event."""
    return Event(row.at, row.actor, row.action, row.case_id, row.label_id, dict(row.detail))


def relative_path(case_id: str, label_id: str, suffix: str) -> Path:
    """Where a label's file lies below the labels' folder."""
    return Path(case_id) / f"{label_id}{suffix}"


def _tags_of(session: Session, case_ids: Sequence[str]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for start in range(0, len(case_ids), 500):
        part = case_ids[start : start + 500]
        for case_id, tag in session.execute(select(TagRow.case_id, TagRow.tag).where(TagRow.case_id.in_(part))):
            tags.setdefault(case_id, []).append(tag)
    return tags
