"""Asking for rounds: how many corrections wait, at most one round in line, and stopping one again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from datastore.records import Kind, Split
from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records
from datastore.registry.sessions import UnknownCaseError, note
from datastore.registry.standing import LUNGS
from datastore.round_records import AT_WORK, ENDED, Round, RoundState
from datastore.schema import CaseRow, LabelRow, PatientRow, RoundLabelRow, RoundRow

LEARNED = tuple(str(state) for state in (*AT_WORK, RoundState.PUBLISHED, RoundState.HELD_BACK))
IMPORTED = "import %"  # tool of references that came with a data set: nobody corrected them here


class RoundError(ValueError):
    """A round cannot do that now; the message says why."""


class RoundQueue(Records):
    """Rounds before they run, and all questions about them."""

    def corrections_since_last_round(self) -> int:
        """Accepted corrections of the split train that the last round did not take along.

        A correction is a mask that an annotator submitted; references that were imported are none. Rounds that failed
        or were cancelled learned nothing and do not count.
        """
        with self._read() as session:
            return _since_last_round(session)

    def untried_corrections(self) -> int:
        """Accepted corrections of the split train that no round has taken along, not even one that failed."""
        with self._read() as session:
            return _untried(session)

    def trainable(self) -> int:
        """Cases of the split train with an accepted lung mask, imported or corrected: what a round would train on."""
        with self._read() as session:
            return session.scalar(select(func.count()).select_from(training_labels().subquery())) or 0

    def request_round(
        self,
        trigger: str,
        config: dict[str, Any],
        seed: int,
        by: str = LOCAL,
        *,
        at_least: int = 0,
        untried: int = 0,
    ) -> Round | None:
        """Put a round in line, unless one is there: one transaction, however many ask at once.

        Args:
            trigger: Why, in words: `25 corrections`, `by hand`.
            config: How to train.
            seed: Of the training.
            by: Who asks.
            at_least: Only if so many corrections came since the last round.
            untried: Only if no round at all has taken so many of them along.

        Returns:
            The round; None if one waits already, there are too few corrections, or they are asked for and a round is
            about to take them along.
        """
        with self._write() as session:
            if _number_of(session, RoundRow.state == str(RoundState.QUEUED)) is not None:
                return None
            if at_least or untried:
                if _number_of(session, RoundRow.active, RoundRow.snapshot_at.is_(None)) is not None:
                    return None
                if _since_last_round(session) < at_least or _untried(session) < untried:
                    return None
            row = RoundRow(
                trigger=trigger,
                state=str(RoundState.QUEUED),
                active=False,
                config=config,
                seed=seed,
                metrics={},
                queued_at=datetime.now(UTC),
                progress={},
                attempts=0,
            )
            session.add(row)
            session.flush()
            note(session, by, "round.queued", round=row.number, trigger=trigger)
            session.flush()
            return self._to_round(session, row)

    def request_cancel(self, number: int, by: str = LOCAL) -> Round:
        """Stop a round: at once if it waits, else as soon as its worker looks up.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it has ended.
        """
        with self._write() as session:
            row = self._round_row(session, number)
            if RoundState(row.state) in ENDED:
                raise RoundError(f"round {number} is {row.state}: it has ended")
            if row.cancel_by is None:
                row.cancel_by = by
                note(session, by, "round.cancel", round=number)
            if row.state == RoundState.QUEUED:
                row.state, row.ended_at = str(RoundState.CANCELLED), datetime.now(UTC)
                note(session, by, f"round.{RoundState.CANCELLED}", round=number)
            session.flush()
            return self._to_round(session, row)

    def is_cancel_requested(self, number: int) -> bool:
        """Whether somebody wants a round to stop."""
        return bool(self._rows(select(RoundRow.cancel_by).where(RoundRow.number == number, RoundRow.cancel_by != "")))

    def round(self, number: int) -> Round:
        """The round of that number.

        Raises:
            UnknownCaseError: If there is none.
        """
        with self._read() as session:
            return self._to_round(session, self._round_row(session, number))

    def rounds(self) -> list[Round]:
        """Every round, the first first."""
        with self._read() as session:
            return [self._to_round(session, row) for row in session.scalars(select(RoundRow).order_by(RoundRow.number))]

    def active_round(self) -> Round | None:
        """The round that is at work, or was when its worker died."""
        return self._one_round(RoundRow.active)

    def waiting_round(self) -> Round | None:
        """The round that is in line."""
        return self._one_round(RoundRow.state == str(RoundState.QUEUED))

    def newest_round(self) -> Round | None:
        """The last round that was asked for."""
        return self._one_round()

    def round_to_refresh(self) -> Round | None:
        """The last round that was published, if open cases still have the masks of older models."""
        published = self._one_round(RoundRow.state == str(RoundState.PUBLISHED))
        return published if published is not None and published.refreshed_at is None else None

    def _one_round(self, *which: Any) -> Round | None:
        with self._read() as session:
            row = session.scalar(select(RoundRow).where(*which).order_by(RoundRow.number.desc()).limit(1))
            return None if row is None else self._to_round(session, row)

    def _round_row(self, session: Session, number: int) -> RoundRow:
        row = session.get(RoundRow, number)
        if row is None:
            raise UnknownCaseError(f"no round {number}")
        return row

    def _to_round(self, session: Session, row: RoundRow) -> Round:
        labels = select(RoundLabelRow.label_id).where(RoundLabelRow.round_number == row.number)
        return Round(
            number=row.number,
            trigger=row.trigger,
            state=RoundState(row.state),
            config=dict(row.config),
            seed=row.seed,
            label_ids=tuple(session.scalars(labels.order_by(RoundLabelRow.label_id))),
            metrics=dict(row.metrics),
            champion=row.champion,
            candidate=row.candidate,
            decision=row.decision,
            queued_at=row.queued_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            snapshot_at=row.snapshot_at,
            progress=dict(row.progress),
            progressed_at=row.progressed_at,
            attempts=row.attempts,
            cancel_by=row.cancel_by,
            refreshed_at=row.refreshed_at,
        )


def training_labels() -> Select[str]:
    """Ids of the masks that may train: accepted, of lungs, of patients in the split train; one of each case."""
    return (
        select(LabelRow.id)
        .join(CaseRow, CaseRow.id == LabelRow.case_id)
        .join(PatientRow, PatientRow.key == CaseRow.patient_key)
        .where(LabelRow.kind == str(Kind.ACCEPTED), LabelRow.target == LUNGS, PatientRow.split == str(Split.TRAIN))
    )


def _corrections() -> Select[str]:
    return training_labels().where(LabelRow.made_as == str(Kind.SUBMITTED), LabelRow.tool.not_like(IMPORTED))


def _since_last_round(session: Session) -> int:
    last = _number_of(session, RoundRow.state.in_(LEARNED), RoundRow.snapshot_at.is_not(None))
    taken = exists().where(RoundLabelRow.label_id == LabelRow.id, RoundLabelRow.round_number == last)
    return session.scalar(select(func.count()).select_from(_corrections().where(~taken).subquery())) or 0


def _untried(session: Session) -> int:
    taken = exists().where(RoundLabelRow.label_id == LabelRow.id)
    return session.scalar(select(func.count()).select_from(_corrections().where(~taken).subquery())) or 0


def _number_of(session: Session, *which: Any) -> int | None:
    """The number of the last round of which all this is true."""
    return session.scalar(select(func.max(RoundRow.number)).where(*which))
