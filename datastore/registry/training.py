"""Rounds and models: what was trained on what, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datastore.records import Kind, Split
from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records
from datastore.registry.sessions import UnknownCaseError, note
from datastore.round_records import ENDED, ModelVersion, Round, RoundState
from datastore.schema import CaseRow, ModelRow, PatientRow, RoundLabelRow, RoundRow


class RoundError(ValueError):
    """A round cannot do that now; the message says why."""


class Training(Records):
    """Rounds and models."""

    def queue_round(
        self, trigger: str, label_ids: Sequence[str], seed: int, config: dict[str, Any], by: str = LOCAL
    ) -> Round:
        """Enter a round with the very label versions that it will train on.

        Raises:
            UnknownCaseError: If a label is not there.
            RoundError: If a label is not accepted, or belongs to a patient who is not in the training split.
        """
        with self._write() as session:
            row = RoundRow(
                trigger=trigger,
                state=str(RoundState.QUEUED),
                active=False,
                config=config,
                seed=seed,
                metrics={},
                queued_at=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            for label_id in label_ids:
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
                session.add(RoundLabelRow(round_number=row.number, label_id=label_id))
            note(session, by, "round.queued", round=row.number, trigger=trigger, labels=len(label_ids))
            session.flush()
            return self._to_round(session, row)

    def set_round_state(
        self,
        number: int,
        state: RoundState,
        by: str = LOCAL,
        *,
        decision: str | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> Round:
        """Move a round on.

        Raises:
            UnknownCaseError: If there is no such round.
            RoundError: If it has ended, or another one is at work.
        """
        with self._write() as session:
            row = self._round_row(session, number)
            if RoundState(row.state) in ENDED:
                raise RoundError(f"round {number} is {row.state}: it has ended")
            is_active = state not in ENDED and state is not RoundState.QUEUED
            other = session.scalar(select(RoundRow.number).where(RoundRow.active, RoundRow.number != number))
            if is_active and other is not None:
                raise RoundError(f"round {other} is at work: round {number} has to wait")
            now = datetime.now(UTC)
            row.state, row.active = str(state), is_active
            row.started_at = row.started_at or (now if is_active else None)
            row.ended_at = now if state in ENDED else None
            row.decision = decision or row.decision
            row.metrics = {**row.metrics, **(metrics or {})}
            note(session, by, f"round.{state}", round=number, decision=decision)
            session.flush()
            return self._to_round(session, row)

    def rounds(self) -> list[Round]:
        """Every round, the first first."""
        with self._read() as session:
            return [self._to_round(session, row) for row in session.scalars(select(RoundRow).order_by(RoundRow.number))]

    def add_model(
        self,
        version: str,
        architecture: str,
        weights_sha256: str,
        by: str = LOCAL,
        *,
        parent: str | None = None,
        round_number: int | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Enter a model version with the checksum of its weights; one that is there already stays as it is.

        Raises:
            ValueError: If the version is there already with other weights, or the checksum is none.
        """
        if len(weights_sha256) != 64:
            raise ValueError(f"model {version}: expected the SHA-256 of its weights, got {weights_sha256[:70]!r}")
        with self._write() as session:
            known = session.get(ModelRow, version)
            if known is not None:
                if known.weights_sha256 != weights_sha256:
                    raise ValueError(
                        f"model {version} is there already, with weights of SHA-256 {known.weights_sha256[:12]}: "
                        f"expected the same, got {weights_sha256[:12]}"
                    )
                return _to_model(known)
            row = ModelRow(
                version=version,
                architecture=architecture,
                weights_sha256=weights_sha256,
                parent=parent,
                round_number=round_number,
                metrics=metrics or {},
                created_at=datetime.now(UTC),
            )
            session.add(row)
            note(session, by, "model.added", model=version, round=round_number)
            session.flush()
            return _to_model(row)

    def models(self) -> list[ModelVersion]:
        """Every model version, the oldest first."""
        with self._read() as session:
            query = select(ModelRow).order_by(ModelRow.created_at, ModelRow.version)
            return [_to_model(row) for row in session.scalars(query)]

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
        )


def _to_model(row: ModelRow) -> ModelVersion:
    return ModelVersion(
        version=row.version,
        architecture=row.architecture,
        weights_sha256=row.weights_sha256,
        parent=row.parent,
        round_number=row.round_number,
        metrics=dict(row.metrics),
        created_at=row.created_at,
        published_at=row.published_at,
    )
