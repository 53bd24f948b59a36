"""A round at work: begun, its label versions settled, its progress, its end. Each method may be called again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from datastore.records import Kind, Split
from datastore.registry.intake import LOCAL
from datastore.registry.round_queue import RoundError, RoundQueue, training_labels
from datastore.registry.sessions import note
from datastore.round_records import AT_WORK, ENDED, Round, RoundState
from datastore.schema import CaseRow, PatientRow, RoundLabelRow, RoundRow

POSITION = "position"  # in a round's progress: a number that only grows while the round gets on
KEPT = ("training",)


class Rounds(RoundQueue):
    """What a worker does with a round."""

    def begin_round(self, number: int, by: str = LOCAL) -> Round:
        """Take a round up, or again after its worker died.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it has ended, or another one is at work.
        """
        with self._write() as session:
            row = self._open_row(session, number)
            other = session.scalar(select(RoundRow.number).where(RoundRow.active, RoundRow.number != number))
            if other is not None:
                raise RoundError(f"round {other} is at work: round {number} has to wait")
            what = "resumed" if row.active else str(RoundState.RUNNING)
            row.state, row.active, row.attempts = str(RoundState.RUNNING), True, row.attempts + 1
            row.started_at = row.started_at or datetime.now(UTC)
            note(session, by, f"round.{what}", round=number)
            session.flush()
            return self._to_round(session, row)

    def snapshot_round(
        self, number: int, label_ids: Sequence[str] | None = None, champion: str | None = None, by: str = LOCAL
    ) -> Round:
        """Settle what a round trains on; settled once, it stays.

        Args:
            number: Of the round.
            label_ids: The very label versions; every accepted lung mask of the split train if not given.
            champion: Version of the model that serves now.
            by: Who does it.

        Raises:
            UnknownCaseError: If there is no such round or label.
            RoundError: If it has ended, or there is nothing to train on, or a label is not accepted or belongs to a
                patient who is not in the split train.
        """
        with self._write() as session:
            row = self._open_row(session, number)
            if row.snapshot_at is not None:
                return self._to_round(session, row)
            settled = list(session.scalars(training_labels())) if label_ids is None else list(dict.fromkeys(label_ids))
            if not settled:
                raise RoundError(f"round {number} has nothing to train on: no accepted mask in the split train")
            for label_id in settled if label_ids is not None else ():
                label = self._label_row(session, label_id)
                split = session.scalar(
                    select(PatientRow.split)
                    .join(CaseRow, CaseRow.patient_key == PatientRow.key)
                    .where(CaseRow.id == label.case_id)
                )
                if label.kind != Kind.ACCEPTED or split != Split.TRAIN:
                    raise RoundError(
                        f"label {label_id} is {label.kind} and in split {split}: "
                        "only accepted masks of the split train may train"
                    )
            session.add_all(RoundLabelRow(round_number=number, label_id=label_id) for label_id in settled)
            row.snapshot_at, row.champion = datetime.now(UTC), champion
            note(session, by, "round.snapshot", round=number, labels=len(settled), champion=champion)
            session.flush()
            return self._to_round(session, row)

    def set_round_state(self, number: int, state: RoundState, by: str = LOCAL) -> Round:
        """Say what a round at work does now, or that its worker is gone.

        Args:
            number: Of the round.
            state: Running, judging or interrupted.
            by: Who says it.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it is not at work.
        """
        if state not in AT_WORK:
            raise RoundError(f"round {number}: expected one of {', '.join(AT_WORK)}, got {state}")
        with self._write() as session:
            row = self._open_row(session, number)
            if not row.active:
                raise RoundError(f"round {number} is {row.state}: it was not begun")
            if row.state != state:
                row.state = str(state)
                note(session, by, f"round.{state}", round=number)
            session.flush()
            return self._to_round(session, row)

    def pause_round(self, number: int, by: str = LOCAL) -> Round:
        """Say that a worker has left a round in good order: it did not die at it, and attempts are counted anew.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it is not at work.
        """
        with self._write() as session:
            row = self._open_row(session, number)
            if not row.active:
                raise RoundError(f"round {number} is {row.state}: it was not begun")
            row.attempts = 0
            if row.state != RoundState.INTERRUPTED:
                row.state = str(RoundState.INTERRUPTED)
                note(session, by, f"round.{RoundState.INTERRUPTED}", round=number)
            session.flush()
            return self._to_round(session, row)

    def report_progress(self, number: int, progress: dict[str, Any]) -> None:
        """Keep how far a round is.

        Args:
            number: Of the round.
            progress: Plain values. Once its `position` is higher than ever before, the round got on, and attempts are
                counted anew. What stands under `training` stays until something else does.
        """
        with self._write() as session:
            row = self._round_row(session, number)
            before, now = row.progress.get(POSITION, 0), progress.get(POSITION, 0)
            if now > before:
                row.attempts = 0
            row.progress = {
                **{name: row.progress[name] for name in KEPT if name in row.progress},
                **progress,
                POSITION: max(before, now),
            }
            row.progressed_at = datetime.now(UTC)

    def end_round(
        self,
        number: int,
        state: RoundState,
        *,
        decision: str | None = None,
        metrics: dict[str, Any] | None = None,
        candidate: str | None = None,
        champion: str | None = None,
        by: str = LOCAL,
    ) -> Round:
        """Say what became of a round; said again, nothing happens.

        Args:
            number: Of the round.
            state: Published, held back, failed or cancelled.
            decision: Why, in one sentence.
            metrics: Of candidate and champion; added to those that are there.
            candidate: Version of the model that it made.
            champion: Version that it was judged against, if another one than at the snapshot.
            by: Who says it.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it ended otherwise, or `state` is no end.
        """
        if state not in ENDED:
            raise RoundError(f"round {number}: expected one of {', '.join(ENDED)}, got {state}")
        with self._write() as session:
            row = self._round_row(session, number)
            if row.state == state:
                return self._to_round(session, row)
            row = self._open_row(session, number)
            row.state, row.active, row.ended_at = str(state), False, datetime.now(UTC)
            row.decision, row.metrics = decision or row.decision, {**row.metrics, **(metrics or {})}
            row.candidate, row.champion = candidate or row.candidate, champion or row.champion
            note(session, by, f"round.{state}", round=number, decision=decision)
            session.flush()
            return self._to_round(session, row)

    def mark_refreshed(self, number: int, by: str = LOCAL) -> None:
        """Note that the open cases have preliminary masks of the model that a round made."""
        with self._write() as session:
            row = self._round_row(session, number)
            if row.refreshed_at is None:
                row.refreshed_at = datetime.now(UTC)
                note(session, by, "round.refreshed", round=number)

    def _open_row(self, session: Any, number: int) -> RoundRow:
        row = self._round_row(session, number)
        if RoundState(row.state) in ENDED:
            raise RoundError(f"round {number} is {row.state}: it has ended")
        return row
