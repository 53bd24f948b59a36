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
from datastore.records import Case, Exclusion, Kind, NewCase, NewExclusion, Registered, Source, Status
from datastore.registry.rows import Records, case_query
from datastore.registry.sessions import note
from datastore.registry.standing import count_in, restate
from datastore.schema import CaseRow, ExclusionRow, LabelRow, LeaseRow, PatientRow, TagRow

LOCAL = "local"  # until there are users, everyone who reaches the program is the person at this machine
SAME_PLACE_MM = 0.1


class KnownOtherwiseError(ValueError):
    """A series is registered already, as another image or another patient's, and somebody has worked on it."""


class Intake(Records):
    """Registering series, and noting those that are no volumes."""

    def add_case(self, new: NewCase, by: str = LOCAL, *, one_per_study: bool = False) -> tuple[Case, bool]:
        """Register one series; see `add_cases`.

        Raises:
            KnownOtherwiseError: As `add_cases` returns it.
        """
        added = self.add_cases([new], by, one_per_study=one_per_study)[0]
        if isinstance(added, KnownOtherwiseError):
            raise added
        return added

    def add_cases(
        self, batch: Sequence[NewCase], by: str = LOCAL, *, one_per_study: bool = False
    ) -> list[tuple[Case, bool] | KnownOtherwiseError]:
        """Register series in one transaction, or find the cases that they are already.

        A series that changed since (it was still being copied) is registered anew while nobody works on it. A case
        that somebody works or has worked on stays eligible, whatever the rules say by now.

        Args:
            batch: The series.
            by: Who registers them.
            one_per_study: Whether only the series with most slices of a study is eligible (Hofmanninger et al.
                2020, sec. II-C).

        Returns:
            For each, the case and whether it is new; or why it cannot be registered.
        """
        keys = [self._key(new.origin or new.source) for new in batch]
        with self._write() as session:
            stored = session.scalars(select(CaseRow).where(CaseRow.source_key.in_(keys)))
            known = {row.source_key: row for row in stored}
            fresh = {key: new for key, new in zip(keys[::-1], batch[::-1], strict=True) if key not in known}
            known |= self._insert(session, dict(reversed(fresh.items())), by)
            results: list[tuple[str, bool] | KnownOtherwiseError] = []
            for key, new in zip(keys, batch, strict=True):
                row, is_new = known[key], fresh.get(key) is new
                try:
                    if not is_new:
                        with session.begin_nested():
                            self._meet_again(session, row, new, by)
                    results.append((row.id, is_new))
                except KnownOtherwiseError as error:
                    results.append(error)
            for study_uid in sorted({new.study_uid for new in batch if new.study_uid}):
                self._choose_of_study(session, study_uid, by, one_per_study=one_per_study)
            session.flush()
            ids = [item[0] for item in results if not isinstance(item, KnownOtherwiseError)]
            cases = {case.id: case for case in self._cases(session, case_query().where(CaseRow.id.in_(ids)))}
            return [item if isinstance(item, KnownOtherwiseError) else (cases[item[0]], item[1]) for item in results]

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
                row.damaged, row.noted_at = new.damaged, new.seen_at or datetime.now(UTC)
                session.flush()
            return changed

    def exclusions(self) -> list[Exclusion]:
        """Every series that is known and is no volume, the latest last."""
        query = select(ExclusionRow).order_by(ExclusionRow.noted_at, ExclusionRow.source_key)
        with self._read() as session:
            return [
                Exclusion(
                    source=self._unseal(row.location),
                    reason=row.reason,
                    study_uid=row.study_uid,
                    description=row.description,
                    slices=row.slices,
                    noted_at=row.noted_at,
                )
                for row in session.scalars(query)
            ]

    def registered(self) -> list[Registered]:
        """Where every case and every excluded series lies, and when somebody last looked at it there."""
        cases = select(CaseRow.location, CaseRow.seen_at, CaseRow.shape)
        excluded = select(ExclusionRow.location, ExclusionRow.noted_at, ExclusionRow.slices, ExclusionRow.damaged)
        with self._read() as session:
            found = [
                Registered(self._unseal(place), at, shape[0], is_case=True)
                for place, at, shape in session.execute(cases.order_by(CaseRow.number))
            ]
            found += [
                Registered(self._unseal(place), at, slices, is_case=False, damaged=damaged)
                for place, at, slices, damaged in session.execute(excluded)
            ]
        return found

    def _insert(self, session: Session, fresh: Mapping[str, NewCase], by: str) -> dict[str, CaseRow]:
        """Rows for series that are not known, by their keys."""
        keys = self._patient_keys(session, fresh, by)
        patients = self._patients(session, set(keys.values()))
        now = datetime.now(UTC)
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
                added_at=now,
                seen_at=new.seen_at or now,
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
        stored_source = self._unseal(row.location)
        same_content = row.sha256 == new.sha256 or _held_before(row, new)
        if tuple(row.shape) != new.shape or not same_content or not _same_place(row, new):
            if row.label_count or _is_leased(session, row.id):
                masks = f"{row.label_count} mask{'' if row.label_count == 1 else 's'}"
                raise KnownOtherwiseError(
                    f"{new.source}: is case {row.id} already, of {tuple(row.shape)[::-1]} voxels with {masks}, "
                    f"but is another image of {new.shape[::-1]} voxels now"
                )
            row.shape, row.geometry, row.sha256 = list(new.shape), new.geometry.to_dict(), new.sha256
            row.location = self._seal(new.source)
            note(session, by, "case.registered_anew", row.id)
        elif new.sha256 != row.sha256:
            row.sha256 = new.sha256
        elif new.source != stored_source and self._is_better(new.source, stored_source, row):
            row.location = self._seal(new.source)
            note(session, by, "case.moved", row.id)
        row.seen_at = new.seen_at or datetime.now(UTC)
        self._recognise(session, row, new.patient, by)
        if row.exclusion != new.exclusion and not (new.exclusion and _is_in_use(session, row)):
            row.exclusion = new.exclusion
            note(session, by, "case.excluded" if new.exclusion else "case.included", row.id, reason=new.exclusion)
            restate(session, row)

    def _is_better(self, place: Source, stored: Source, row: CaseRow) -> bool:
        """Whether a case is read from another place from now on: not if that is outside, and it was copied inside."""
        is_inside, was_inside = (self._is_inside(each) for each in (place, stored))
        if not _is_there(stored) or (is_inside and not was_inside):
            return True
        return not row.label_count and is_inside == was_inside

    # Patients

    def _patient_keys(self, session: Session, fresh: Mapping[str, NewCase], by: str) -> dict[str, str]:
        """The patient of each new series: its own, else that of its study, else the study stands for the patient.

        A study whose patient becomes known with one of its series gives the others to that patient.
        """
        of_study: dict[str, str] = {}
        studies = {new.study_uid for new in fresh.values() if new.study_uid}
        query = select(CaseRow).where(CaseRow.study_uid.in_(studies)).order_by(CaseRow.number)
        siblings = session.scalars(query).all() if studies else []
        for row in siblings:
            if not is_study_key(row.patient_key):
                of_study.setdefault(str(row.study_uid), row.patient_key)
        for new in fresh.values():
            if new.patient and new.study_uid:
                of_study.setdefault(new.study_uid, new.patient)
        for row in siblings:
            known = of_study.get(str(row.study_uid))
            if known is not None and is_study_key(row.patient_key):
                self._recognise(session, row, known, by)
        return {
            key: new.patient
            or of_study.get(new.study_uid or "")
            or study_key(new.study_uid or new.sha256 or key)  # two files of one content are one patient's
            for key, new in fresh.items()
        }

    def _recognise(self, session: Session, row: CaseRow, patient_key: str, by: str) -> None:
        """Give a case, and with it its study, to its patient once the patient is known.

        A patient who is new takes over the split of the study: nothing that has trained ever judges.

        Raises:
            KnownOtherwiseError: If the case is another patient's, or if its split would change after a mask of the
                study was accepted.
        """
        if not patient_key or row.patient_key == patient_key:
            return
        before = session.get_one(PatientRow, row.patient_key)
        patient = session.get(PatientRow, patient_key)
        if patient is None and is_study_key(before.key):
            patient = PatientRow(key=patient_key, split=before.split, assigned_at=datetime.now(UTC))
            session.add(patient)
            session.flush()
        rows = session.scalars(select(CaseRow).where(CaseRow.patient_key == before.key)).all()
        accepted = select(LabelRow.id).where(
            LabelRow.case_id.in_([each.id for each in rows]), LabelRow.kind == str(Kind.ACCEPTED)
        )
        is_settled = session.scalar(accepted.limit(1)) is not None
        if patient is None or not is_study_key(before.key) or (is_settled and patient.split != before.split):
            raise KnownOtherwiseError(f"case {row.id} is registered as another patient's: its split would change")
        for each in rows:
            each.patient_key = patient.key
            note(session, by, "case.patient_known", each.id, split=patient.split)
        session.flush()

    def _patients(self, session: Session, keys: Collection[str]) -> dict[str, PatientRow]:
        """Patients by their keys; those that are new are put into a split."""
        known = {row.key: row for row in session.scalars(select(PatientRow).where(PatientRow.key.in_(keys)))}
        for key in sorted(set(keys) - known.keys()):
            split = self.ratios.split_of(self.secret, key)
            known[key] = PatientRow(key=key, split=str(split), assigned_at=datetime.now(UTC))
            session.add(known[key])
        session.flush()
        return known

    # Studies

    def _choose_of_study(self, session: Session, study_uid: str, by: str, *, one_per_study: bool) -> None:
        """Leave the one series with most slices of a study eligible; one that is worked on stays."""
        rows = session.scalars(select(CaseRow).where(CaseRow.study_uid == study_uid).order_by(CaseRow.number)).all()
        rivals = [row for row in rows if row.exclusion is None] if one_per_study else []
        in_use = {row.id for row in rivals if _is_in_use(session, row)} if len(rivals) > 1 else set()
        best = max(rivals, key=lambda row: (row.id in in_use, row.shape[0], -row.number), default=None)
        for row in rows:
            reason = None
            if best is not None and row in rivals and row is not best and row.id not in in_use:
                reason = f"{row.shape[0]} slices: case {best.id} of the same study has {best.shape[0]}"
            if row.outnumbered == reason:
                continue
            row.outnumbered = reason
            note(session, by, "case.excluded" if reason else "case.included", row.id, reason=reason)
            restate(session, row)


def _same_place(row: CaseRow, new: NewCase) -> bool:
    known = Geometry.from_dict(row.geometry)
    return new.geometry.corner_distance_mm(known, new.shape) < SAME_PLACE_MM


def _held_before(row: CaseRow, new: NewCase) -> bool:
    """Whether a file has the digest that an earlier version stored."""
    path = (new.origin or new.source).path
    return row.sha256 is not None and path.is_file() and holds(path, row.sha256)


def _is_there(source: Source) -> bool:
    if source.url:
        return True
    return all((source.path / name).exists() for name in source.files[:1]) and source.path.exists()


def _is_leased(session: Session, case_id: str) -> bool:
    live = select(LeaseRow.id).where(LeaseRow.case_id == case_id, LeaseRow.ended_at.is_(None)).limit(1)
    return session.scalar(live) is not None


def _is_in_use(session: Session, row: CaseRow) -> bool:
    """Whether somebody works or has worked on a case."""
    by_hand = select(LabelRow.id).where(LabelRow.case_id == row.id, LabelRow.made_as != str(Kind.PRELIMINARY)).limit(1)
    return row.head_id is not None or _is_leased(session, row.id) or session.scalar(by_hand) is not None
