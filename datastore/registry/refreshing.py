"""Preliminary masks made anew: a new model's mask takes the place of an older model's, and of nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from datastore.records import Kind, Label, NewLabel, Status
from datastore.registry.labels import Labels, change_kind
from datastore.registry.standing import LUNGS
from datastore.schema import CaseRow, LabelRow, LeaseRow
from datastore.volume import Volume

UNTOUCHED = (Status.OPEN, Status.PRELIMINARY)  # nobody has drawn in the case


class Refreshing(Labels):
    """What a published model means for the cases that are still to do."""

    def outdated(self, model: str) -> list[str]:
        """Open cases whose preliminary mask another model made, in the order they were registered.

        Those that somebody holds, or has drawn in, are left out, and those whose mask came from no model.

        Args:
            model: Version of the model whose masks are wanted.
        """
        query = select(CaseRow.id).where(_is_free(), CaseRow.status == str(Status.PRELIMINARY), ~_made_by(model))
        return [case_id for (case_id,) in self._rows(query.where(~_foreign()).order_by(CaseRow.number))]

    def wants_preliminary(self, case_id: str, model: str) -> bool:
        """Whether `replace_preliminary` would take a mask of a model now."""
        with self._read() as session:
            return _is_wanted(session, case_id, model)

    def replace_preliminary(self, case_id: str, mask: Volume, new: NewLabel) -> Label | None:
        """Store a model's mask of an open case; masks of other models are superseded by it.

        Args:
            case_id: The case.
            mask: As for `add_label`.
            new: Preliminary, with the version of its model.

        Returns:
            The new version; None, and nothing stored, if somebody took the case meanwhile or drew in it, or the model's
            mask is there.

        Raises:
            UnknownCaseError: If there is no such case.
            ValueError: If it is no preliminary mask of a model, or not on the image's grid.
        """
        if new.kind is not Kind.PRELIMINARY or new.model is None:
            raise ValueError(f"case {case_id}: expected a model's preliminary mask, got a {new.kind} one")
        known = self._known(case_id)
        if mask.array.shape != known.shape:
            raise ValueError(
                f"mask grid {mask.array.shape[::-1]} does not match image {known.shape[::-1]} of case {case_id}"
            )
        if not self.wants_preliminary(case_id, new.model):
            return None
        file = self._write_file(case_id, mask)
        stored = None
        try:
            with self._write() as session:
                if _is_wanted(session, case_id, new.model):
                    before = session.scalars(
                        select(LabelRow).where(LabelRow.case_id == case_id, LabelRow.kind == str(Kind.PRELIMINARY))
                    ).all()
                    for row in before:
                        if row.target == LUNGS and row.model is not None:
                            change_kind(session, row, Kind.SUPERSEDED, new.author, by_label=file.id)
                    stored = self._insert_label(session, known, new, file)
        finally:
            if stored is None:
                (self.labels_folder / file.path).unlink(missing_ok=True)  # it has no row
        return stored


def _is_wanted(session: Session, case_id: str, model: str) -> bool:
    untouched = CaseRow.status.in_([str(status) for status in UNTOUCHED])
    query = select(CaseRow.id).where(CaseRow.id == case_id, _is_free(), untouched, ~_made_by(model), ~_foreign())
    return session.scalar(query) is not None


def _is_free() -> ColumnElement[bool]:
    live = and_(LeaseRow.case_id == CaseRow.id, LeaseRow.ended_at.is_(None), LeaseRow.expires_at > datetime.now(UTC))
    return and_(CaseRow.offered, ~exists().where(live))


def _made_by(model: str) -> ColumnElement[bool]:
    return _preliminary(LabelRow.model == model)


def _foreign() -> ColumnElement[bool]:
    """Whether the preliminary mask came from no model: from another program, or another hospital."""
    return _preliminary(LabelRow.model.is_(None))


def _preliminary(which: ColumnElement[bool]) -> ColumnElement[bool]:
    kept = and_(LabelRow.case_id == CaseRow.id, LabelRow.kind == str(Kind.PRELIMINARY), LabelRow.target == LUNGS)
    return exists().where(kept, which)
