"""Reviews: a submitted version is accepted or rejected; any version can be brought back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from datastore.atomic import sha256_of
from datastore.image_files import read_mask
from datastore.quality import needs_review, to_plain
from datastore.records import Case, Kind, Label, NewLabel, QualityFinding, Split, Status
from datastore.registry.labels import Labels, change_kind
from datastore.registry.sessions import note
from datastore.registry.standing import restate
from datastore.schema import CaseRow, LabelRow, PatientRow


class ReviewError(ValueError):
    """A version cannot be reviewed so; the message says why."""


class Reviews(Labels):
    """What a reviewer does."""

    def record_findings(self, label_id: str, findings: Sequence[QualityFinding], by: str) -> Label:
        """Keep what the quality checks found in a version that was stored without them.

        Raises:
            UnknownCaseError: If there is no such version.
        """
        with self._write() as session:
            row = self._label_row(session, label_id)
            if row.findings is None:
                row.findings = to_plain(tuple(findings))
                note(session, by, "label.checked", row.case_id, row.id, findings=len(findings))
                session.flush()
            return self._to_label(row)

    def accept(self, label_id: str, by: str, comment: str = "") -> Label:
        """Accept a submitted version: it may train and judge from now on, and ends a conflict.

        Other submitted versions and the one accepted before are superseded.

        Raises:
            UnknownCaseError: If there is no such version.
            ReviewError: If it is not submitted, was not checked, or has findings and no comment says why it is
                right all the same.
        """
        with self._write() as session:
            row = self._label_row(session, label_id)
            self._check_is_submitted(row, "accepted")
            findings = self._to_label(row).findings
            if findings is None:
                raise ReviewError(f"label {label_id} was not checked yet: it cannot be accepted")
            if needs_review(findings) and not comment.strip():
                worst = next(item for item in findings if needs_review((item,)))
                raise ReviewError(
                    f"label {label_id} has a finding: {worst.text}; expected a comment that says why it is right"
                )
            change_kind(session, row, Kind.ACCEPTED, by, comment=comment.strip() or None)
            others = select(LabelRow).where(
                LabelRow.case_id == row.case_id,
                LabelRow.id != row.id,
                LabelRow.target == row.target,
                LabelRow.kind.in_([str(Kind.SUBMITTED), str(Kind.ACCEPTED)]),
            )
            for other in session.scalars(others).all():
                change_kind(session, other, Kind.SUPERSEDED, by, by_label=row.id)
            restate(session, self._row(session, row.case_id))
            return self._to_label(row)

    def reject(self, label_id: str, by: str, comment: str) -> Label:
        """Send a submitted version back: the case is offered again.

        Raises:
            UnknownCaseError: If there is no such version.
            ReviewError: If it is not submitted, or no comment says what is wrong.
        """
        if not comment.strip():
            raise ReviewError(f"label {label_id}: expected a comment that says what is wrong with it")
        with self._write() as session:
            row = self._label_row(session, label_id)
            self._check_is_submitted(row, "rejected")
            change_kind(session, row, Kind.REJECTED, by, comment=comment.strip())
            case = self._row(session, row.case_id)
            restate(session, case)
            if Status(case.status) is Status.ACCEPTED:  # the correction of an accepted mask is still wanted
                case.reopened = True
                restate(session, case)
            return self._to_label(row)

    def reopen(self, case_id: str, by: str, reason: str) -> Case:
        """Offer a finished case to annotators again; its masks stay what they are until a new one is accepted.

        Raises:
            UnknownCaseError: If there is no such case.
            ReviewError: If it is not finished, or without a reason.
        """
        if not reason.strip():
            raise ReviewError(f"case {case_id}: expected a reason for opening it again")
        with self._write() as session:
            row = self._row(session, case_id)
            if row.offered or not row.eligible:
                what = "is open" if row.eligible else "is not eligible"
                raise ReviewError(f"case {case_id} {what}: it cannot be opened again")
            row.reopened = True
            note(session, by, "case.reopened", case_id, reason=reason.strip())
            restate(session, row)
            return self._case(session, case_id)

    def restore(self, label_id: str, by: str) -> Label:
        """Submit a copy of an older version anew, on top of what the case has now.

        Raises:
            UnknownCaseError: If there is no such version.
            ReviewError: If its file is not what was stored.
        """
        old = self.label(label_id)
        if not old.path.exists() or sha256_of(old.path) != old.sha256:
            raise ReviewError(f"label {label_id} cannot be restored: its file is missing or was changed")
        with self._read() as session:
            head = self._row(session, old.case_id).head_id
        new = NewLabel(
            kind=Kind.SUBMITTED,
            author=by,
            tool=f"restored {label_id}",
            model=old.model,
            parent=head or old.id,
            target=old.target,
            findings=old.findings,
        )
        return self.add_label(old.case_id, read_mask(old.path), new)

    def accepted(self, split: Split) -> list[Label]:
        """The accepted lung mask of every case of a split: what may train, or judge."""
        query = (
            select(LabelRow)
            .join(CaseRow, CaseRow.id == LabelRow.case_id)
            .join(PatientRow, PatientRow.key == CaseRow.patient_key)
            .where(LabelRow.kind == str(Kind.ACCEPTED), LabelRow.target == "lungs", PatientRow.split == str(split))
            .order_by(CaseRow.number)
        )
        with self._read() as session:
            return [self._to_label(row) for row in session.scalars(query)]

    def _check_is_submitted(self, row: LabelRow, what: str) -> None:
        if row.kind != Kind.SUBMITTED:
            raise ReviewError(f"label {row.id} is {row.kind}: only a submitted version can be {what}")
