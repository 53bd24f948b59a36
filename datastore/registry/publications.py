"""Which model was served when: every change is an event, and the way back follows from them.

The file `models/current` alone decides what is served; this is its history. A change that nobody entered, because a
process was killed or the file was edited by hand, is entered as `found` by whoever changes it next.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records
from datastore.registry.sessions import note
from datastore.schema import EventRow, ModelRow

PUBLISHED, ROLLED_BACK = "model.published", "model.rolled_back"


class Publications(Records):
    """What was served, in turn."""

    def served_models(self) -> tuple[str, ...]:
        """The models that were served, the last one being served now; what was taken back is not among them."""
        with self._read() as session:
            return tuple(served_in_turn(_changes(session)))

    def was_published(self, version: str) -> bool:
        """Whether a model was served at any time."""
        with self._read() as session:
            return any(event.detail.get("model") == version for event in _changes(session))

    def publish_model(
        self,
        version: str,
        by: str = LOCAL,
        *,
        before: str | None = None,
        round_number: int | None = None,
        found: bool = False,
        shipped: bool = False,
    ) -> None:
        """Enter that a model is served from now on; nothing happens if the history says so already.

        Args:
            version: A model that was entered.
            by: Who decided it.
            before: The model that was served until now; None if there was none.
            round_number: The round that it comes from.
            found: Whether it was seen to be served, without anybody having entered it.
            shipped: Whether it comes with the program, and has no row.

        Raises:
            ValueError: If the model was never entered.
        """
        with self._write() as session:
            if served_in_turn(_changes(session))[-1:] != [version]:
                if not shipped:
                    _model_row(session, version).published_at = datetime.now(UTC)
                note(session, by, PUBLISHED, model=version, before=before, round=round_number, found=found or None)

    def roll_back_model(self, version: str, by: str = LOCAL, *, before: str, shipped: bool = False) -> None:
        """Enter that the model that was served before is served again.

        Args:
            version: The model that is served from now on.
            by: Who decided it.
            before: The model that is taken back.
            shipped: Whether `version` comes with the program, which is served before anything was published.

        Raises:
            ValueError: If these are not the last two that were served.
        """
        with self._write() as session:
            last = served_in_turn(_changes(session))[-2:]
            if last != [version, before] and not (shipped and last == [before]):
                raise ValueError(f"expected to go back from {before} to {version}, last served were {', '.join(last)}")
            if not shipped:
                _model_row(session, version).published_at = datetime.now(UTC)
            note(session, by, ROLLED_BACK, model=version, before=before)


def served_in_turn(changes: Iterable[EventRow]) -> list[str]:
    """What was served, the newest last, once everything that was taken back is gone.

    Args:
        changes: Events, the oldest first.
    """
    turn: list[str] = []
    for event in changes:
        model = event.detail["model"]
        if event.action == ROLLED_BACK:
            turn.pop()
        elif turn[-1:] != [model]:
            turn.append(model)
    return turn


def _changes(session: Session) -> list[EventRow]:
    query = select(EventRow).where(EventRow.action.in_((PUBLISHED, ROLLED_BACK))).order_by(EventRow.id)
    return list(session.scalars(query))


def _model_row(session: Session, version: str) -> ModelRow:
    row = session.get(ModelRow, version)
    if row is None:
        raise ValueError(f"model {version} was never entered in the registry")
    return row
