"""Taking in series: each is one case however often it is found, and each patient is in one split."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datastore.fingerprint import holds
from datastore.geometry import Geometry
from datastore.patients import is_study_key, study_key
from datastore.records import Case, Exclusion, Kind, NewCase, NewExclusion, Source, Status
from datastore.registry.rows import Records, case_query
from datastore.registry.sessions import note
from datastore.registry.standing import count_in, restate
from datastore.schema import CaseRow, ExclusionRow, LabelRow, LeaseRow, PatientRow, TagRow

LOCAL = "local"  # until there are users, everyone who reaches the program is the person at this machine
OUTNUMBERED = "of the same study has"
SAME_PLACE_MM = 0.1


class Intake(Records):
    """Registering series, and noting those that are no volumes."""

    def add_case(self, new: NewCase, by: str = LOCAL, *, one_per_study: bool = False) -> tuple[Case, bool]:
        """Register one series; see `add_cases`.

        Raises:
            ValueError: If the series is known with other slices, and has masks already.
        """
        added = self.add_cases([new], by, one_per_study=one_per_study)[0]
        if isinstance(added, ValueError):
            raise added
        return added

    def add_cases(
        self, batch: Sequence[NewCase], by: str = LOCAL, *, one_per_study: bool = False
    ) -> list[tuple[Case, bool] | ValueError]:
        """Register series in one transaction, or find the cases that they are already.

        A series that changed since (it was still being copied) is registered anew while nobody has worked on it.

        Args:
            batch: The series.
            by: Who registers them.
            one_per_study: Whether only the series with most slices of a study is eligible (Hofmanninger et al.
                2020, sec. II-C).

        Returns:
            For each, the case and whether it is new; or why it cannot be registered: it is known with other
            slices and has masks, or as another patient's and has accepted ones.
        """
        keys = [self._key(new.source) for new in batch]
        with self._write() as session:
            stored = session.scalars(select(CaseRow).where(CaseRow.source_key.in_(keys)))
            known = {row.source_key: row for row in stored}
            fresh = {key: new for key, new in zip(keys[::-1], batch[::-1], strict=True) if key not in known}
            known |= self._insert(session, dict(reversed(fresh.items())), by)
            results: list[tuple[str, bool] | ValueError] = []
            for key, new in zip(keys, batch, strict=True):
                row, is_new = known[key], fresh.get(key) is new
                try:
                    if not is_new:
                        self._meet_again(session, row, new, by)
                    results.append((row.id, is_new))
                except ValueError as error:
                    results.append(error)
            if one_per_study:
                for study_uid in sorted({new.study_uid for new in batch if new.study_uid}):
                    self._choose_of_study(session, study_uid, by)
            session.flush()
            ids = [item[0] for item in results if not isinstance(item, ValueError)]
            cases = {case.id: case for case in self._cases(session, case_query().where(CaseRow.id.in_(ids)))}
            return [item if isinstance(item, ValueError) else (cases[item[0]], item[1]) for item in results]

    def note_exclusions(self, batch: Sequence[NewExclusion], by: str = LOCAL) -> int:
        """Keep the reason why series are no volumes; returns how many were not known, or for another reason."""
        with self._write() as session:
            changed = 0
            for new in batch:
                key = self._key(new.source)
                if session.scalar(select(CaseRow.id).where(CaseRow.source_key == key)) is not None:
                    continue  # it is a case, whose files are in disorder now: `doctor` tells
                row = session.get(ExclusionRow, key)
                if row is None:
                    row = ExclusionRow(source_key=key, reason="")
                    session.add(row)
                if row.reason != new.reason:
                    changed += 1
                    note(session, by, "series.excluded", series_uid=new.source.series_uid, reason=new.reason)
                row.location = self._seal(new.source)
                row.series_uid, row.study_uid = new.source.series_uid, new.study_uid
                row.description, row.slices, row.reason = new.description, new.slices, new.reason
                row.noted_at = datetime.now(UTC)
                session.flush()
            return changed

    def exclusions(self) -> list[Exclusion]:
        """Every series that is known and is no volume, the latest last."""
        query = select(ExclusionRow).order_by(ExclusionRow.noted_at, ExclusionRow.source_key)
        with self._read() as session:
            return [
                Exclusion(
                    self._unseal(row.location),
                    row.reason,
                    row.study_uid,
                    row.description,
                    row.slices,
                    row.noted_at,
                )
                for row in session.scalars(query)
            ]

    def sources(self) -> list[tuple[Source, datetime]]:
        """Where every case and every excluded series lies, and when that was registered."""
        with self._read() as session:
            rows = [
                *session.execute(select(CaseRow.location, CaseRow.added_at)),
                *session.execute(select(ExclusionRow.location, ExclusionRow.noted_at)),
            ]
        return [(self._unseal(location), at) for location, at in rows]

    def _insert(self, session: Session, fresh: Mapping[str, NewCase], by: str) -> dict[str, CaseRow]:
        """Rows for series that are not known, by their keys."""
        keys = {key: new.patient or study_key(new.study_uid or key) for key, new in fresh.items()}
        patients = self._patients(session, set(keys.values()))
        rows = {
            key: CaseRow(
                id=f"new-{secrets.token_hex(8)}",
                source_key=key,
                location=self._seal(new.source),
                series_uid=new.source.series_uid,
                study_uid=new.study_uid,
                description=new.description,
                sha256=new.sha256,
                shape=list(new.shape),
                geometry=new.geometry.to_dict(),
                patient_key=keys[key],
                cohort=new.cohort,
                exclusion=new.exclusion,
                reopened=False,
                eligible=new.exclusion is None,
                offered=new.exclusion is None,
                status=str(Status.OPEN),
                label_count=0,
                added_at=datetime.now(UTC),
            )
            for key, new in fresh.items()
        }
        session.add_all(rows.values())
        session.flush()
        for key, row in rows.items():
            new, row.id = fresh[key], f"{row.number:04d}"
            split = patients[keys[key]].split
            note(session, by, "case.added", row.id, split=split, cohort=new.cohort or None, exclusion=new.exclusion)
        session.flush()
        session.add_all(TagRow(case_id=row.id, tag=tag) for key, row in rows.items() for tag in set(fresh[key].tags))
        session.execute(delete(ExclusionRow).where(ExclusionRow.source_key.in_(list(rows))))  # they can be read now
        count_in(session, rows.values())
        return rows

    def _meet_again(self, session: Session, row: CaseRow, new: NewCase, by: str) -> None:
        """Bring a known case up to date where that costs nobody's work."""
        self._recognise(session, row, new.patient, by)
        stored_source = self._unseal(row.location)
        same_content = row.sha256 == new.sha256 or _held_before(row, new)
        if tuple(row.shape) != new.shape or not same_content or not _same_place(row, new):
            if row.label_count:
                raise ValueError(
                    f"{new.source}: is case {row.id} already, of {tuple(row.shape)[::-1]} voxels with "
                    f"{row.label_count} masks, but is another image of {new.shape[::-1]} voxels now"
                )
            row.shape, row.geometry, row.sha256 = list(new.shape), new.geometry.to_dict(), new.sha256
            row.location, row.added_at = self._seal(new.source), datetime.now(UTC)
            note(session, by, "case.registered_anew", row.id)
        elif new.sha256 != row.sha256:
            row.sha256 = new.sha256
        elif new.source != stored_source and (not _is_there(stored_source) or not row.label_count):
            row.location = self._seal(new.source)
            note(session, by, "case.moved", row.id)
        if row.exclusion != new.exclusion and OUTNUMBERED not in (row.exclusion or ""):
            row.exclusion = new.exclusion
            note(session, by, "case.excluded" if new.exclusion else "case.included", row.id, reason=new.exclusion)
            restate(session, row)

    def _recognise(self, session: Session, row: CaseRow, patient_key: str, by: str) -> None:
        """Give a case to its patient once the patient is known."""
        if not patient_key or row.patient_key == patient_key:
            return
        accepted = select(LabelRow.id).where(LabelRow.case_id == row.id, LabelRow.kind == str(Kind.ACCEPTED)).limit(1)
        if not is_study_key(row.patient_key) or session.scalar(accepted) is not None:
            raise ValueError(f"case {row.id} is registered as another patient's: its split would change")
        patient = self._patients(session, [patient_key])[patient_key]
        row.patient_key = patient.key
        note(session, by, "case.patient_known", row.id, split=patient.split)

    def _patients(self, session: Session, keys: Collection[str]) -> dict[str, PatientRow]:
        """Patients by their keys; those that are new are put into a split."""
        known = {row.key: row for row in session.scalars(select(PatientRow).where(PatientRow.key.in_(keys)))}
        for key in sorted(set(keys) - known.keys()):
            split = self.ratios.split_of(self.secret, key)
            known[key] = PatientRow(key=key, split=str(split), assigned_at=datetime.now(UTC))
            session.add(known[key])
        session.flush()
        return known

    def _choose_of_study(self, session: Session, study_uid: str, by: str) -> None:
        """Leave the one series with most slices of a study eligible; one that is worked on stays."""
        rows = session.scalars(select(CaseRow).where(CaseRow.study_uid == study_uid).order_by(CaseRow.number)).all()
        rivals = [row for row in rows if row.exclusion is None or OUTNUMBERED in row.exclusion]
        if not rivals:
            return
        in_use = {row.id for row in rivals if row.head_id is not None or _is_leased(session, row.id)}
        best = max(rivals, key=lambda row: (row.id in in_use, row.shape[0], -row.number))
        for row in rivals:
            slices = row.shape[0]
            reason = None if row is best else f"{slices} slices: case {best.id} {OUTNUMBERED} {best.shape[0]}"
            if row.id in in_use or row.exclusion == reason:
                continue
            row.exclusion = reason
            note(session, by, "case.excluded" if reason else "case.included", row.id, reason=reason)
            restate(session, row)


def _same_place(row: CaseRow, new: NewCase) -> bool:
    known = Geometry.from_dict(row.geometry)
    return new.geometry.corner_distance_mm(known, new.shape) < SAME_PLACE_MM


def _held_before(row: CaseRow, new: NewCase) -> bool:
    """Whether a file has the digest that an earlier version stored."""
    return row.sha256 is not None and new.source.path.is_file() and holds(new.source.path, row.sha256)


def _is_there(source: Source) -> bool:
    if source.url:
        return True
    return all((source.path / name).exists() for name in source.files[:1]) and source.path.exists()


def _is_leased(session: Session, case_id: str) -> bool:
    live = select(LeaseRow.id).where(LeaseRow.case_id == case_id, LeaseRow.ended_at.is_(None)).limit(1)
    return session.scalar(live) is not None
