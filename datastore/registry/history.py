"""The audit: what happened, who did it, when; and draws, which say why a case was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select

from datastore.records import Draw, Event, NewDraw
from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records, to_event
from datastore.registry.sessions import note
from datastore.schema import DrawRow, EventRow


class History(Records):
    """Events and draws."""

    def events(self, case_id: str | None = None, *, limit: int | None = None) -> list[Event]:
        """What happened to a case, or to all of them: the oldest first; the newest `limit` of them."""
        query = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
        if case_id is not None:
            query = query.where(EventRow.case_id == case_id)
        with self._read() as session:
            return [to_event(row) for row in session.scalars(query)][::-1]

    def record_draws(self, selection: str, draws: Sequence[NewDraw], by: str = LOCAL) -> list[Draw]:
        """Keep why cases were chosen.

        Args:
            selection: What they were chosen for, e.g. `r231-2026-01`.
            draws: The cases and the reasons.
            by: Who drew them.

        Raises:
            UnknownCaseError: If a case is not there.
            ValueError: If a case was drawn into this selection before; nothing is kept then.
        """
        with self._write() as session:
            known = set(session.scalars(select(DrawRow.case_id).where(DrawRow.selection == selection)))
            made = []
            for draw in draws:
                self._row(session, draw.case_id)
                if draw.case_id in known:
                    raise ValueError(f"case {draw.case_id} was drawn into {selection!r} already")
                known.add(draw.case_id)
                row = DrawRow(selection=selection, drawn_at=datetime.now(UTC), drawn_by=by, **vars(draw))
                session.add(row)
                made.append(row)
                note(session, by, "case.drawn", draw.case_id, strategy=draw.strategy, reason=draw.reason)
            session.flush()
            return [_to_draw(row) for row in made]

    def draws(self, case_id: str | None = None, selection: str | None = None) -> list[Draw]:
        """Why a case, or those of a selection, or all, were chosen, in the order they were drawn."""
        query = select(DrawRow).order_by(DrawRow.id)
        if case_id is not None:
            query = query.where(DrawRow.case_id == case_id)
        if selection is not None:
            query = query.where(DrawRow.selection == selection)
        with self._read() as session:
            return [_to_draw(row) for row in session.scalars(query)]


def _to_draw(row: DrawRow) -> Draw:
    return Draw(
        selection=row.selection,
        case_id=row.case_id,
        strategy=row.strategy,
        category=row.category,
        score=row.score,
        reason=row.reason,
        seed=row.seed,
        model=row.model,
        drawn_at=row.drawn_at,
        drawn_by=row.drawn_by,
    )
