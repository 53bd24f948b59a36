"""Leases: a case is given to one annotator at a time, in one transaction, however many ask at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from datastore.records import Lease
from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records, to_lease
from datastore.registry.sessions import note
from datastore.schema import CaseRow, FactRow, LeaseRow, SkipRow

ORDER = "order"
CLOCK = "lungapp"  # who ends a lease that has run out


@dataclass(frozen=True)
class Order:
    """An order in which cases are offered.

    Attributes:
        name: Changes when the order does, e.g. with its seed.
        position: A case's place by its id, a whole number below 2^63; the lowest comes first.
    """

    name: str
    position: Callable[[str], int]


class LeaseError(ValueError):
    """A case cannot be held, kept or given back so; the message says why."""


class Leases(Records):
    """Giving cases out and taking them back."""

    def lease_next(
        self, order: Order, holder: str, duration: timedelta, passed_over: Collection[str] = ()
    ) -> Lease | None:
        """Lease the first free case of an order, all in one transaction.

        Free is a case that is offered, held by nobody, and was not skipped by `holder`. One that `holder` holds
        already comes last: asking again means to move on.

        Args:
            order: Which case comes first.
            holder: Who asks.
            duration: How long the lease lives.
            passed_over: Cases that are not wanted.

        Returns:
            The lease, or None if no case is free.
        """
        with self._write() as session:
            now = datetime.now(UTC)
            _expire(session, now)
            _put_in_order(session, order)
            skipped = exists().where(SkipRow.case_id == CaseRow.id, SkipRow.holder == holder)
            held = exists().where(LeaseRow.case_id == CaseRow.id, LeaseRow.ended_at.is_(None))
            wanted = [CaseRow.offered, ~skipped]
            if passed_over:
                wanted.append(CaseRow.id.not_in(list(passed_over)))
            chosen = session.scalar(select(CaseRow).where(*wanted, ~held).order_by(CaseRow.rank, CaseRow.id).limit(1))
            if chosen is None:
                own = (
                    select(CaseRow, LeaseRow)
                    .join(LeaseRow, LeaseRow.case_id == CaseRow.id)
                    .where(LeaseRow.ended_at.is_(None), LeaseRow.holder == holder, *wanted)
                    .order_by(LeaseRow.granted_at, LeaseRow.id)
                    .limit(1)
                )
                mine = session.execute(own).one_or_none()
                if mine is None:
                    return None
                chosen, previous = mine
                _end(session, previous, holder, "given out again")
            return self._grant(session, chosen, holder, now, duration)

    def lease_case(self, case_id: str, holder: str, duration: timedelta) -> Lease:
        """Lease one case, or renew the lease that `holder` has.

        Raises:
            UnknownCaseError: If there is no such case.
            LeaseError: If somebody else holds it.
        """
        with self._write() as session:
            now = datetime.now(UTC)
            _expire(session, now)
            case = self._row(session, case_id)
            live = _live(session, case_id)
            if live is not None and live.holder != holder:
                raise LeaseError(f"case {case_id} is held by somebody else until {live.expires_at:%H:%M} UTC")
            if live is not None:
                return _renew(live, now, duration)
            return self._grant(session, case, holder, now, duration)

    def renew(self, case_id: str, holder: str, duration: timedelta) -> Lease | None:
        """Sign of life: the holder's lease lives for `duration` from now.

        Returns:
            The lease, or None if `holder` has none on the case (any more).
        """
        with self._write() as session:
            now = datetime.now(UTC)
            _expire(session, now)
            live = _live(session, case_id)
            return None if live is None or live.holder != holder else _renew(live, now, duration)

    def skip(self, case_id: str, holder: str, reason: str = "") -> None:
        """Pass a case on: it is free for others, and not offered to `holder` again.

        Raises:
            UnknownCaseError: If there is no such case.
        """
        with self._write() as session:
            self._row(session, case_id)
            if session.get(SkipRow, (case_id, holder)) is None:
                now = datetime.now(UTC)
                session.add(SkipRow(case_id=case_id, holder=holder, reason=reason, skipped_at=now))
                note(session, holder, "case.skipped", case_id, reason=reason or None)
            live = _live(session, case_id)
            if live is not None and live.holder == holder:
                _end(session, live, holder, "skipped")

    def release(self, case_id: str, holder: str) -> None:
        """End a holder's lease on a case; nothing happens if there is none."""
        with self._write() as session:
            live = _live(session, case_id)
            if live is not None and live.holder == holder:
                _end(session, live, holder, "released")

    def take_back(self, case_id: str, by: str = LOCAL) -> Lease:
        """End whatever lease is on a case: a manager's right.

        Raises:
            UnknownCaseError: If there is no such case.
            LeaseError: If nobody holds it.
        """
        with self._write() as session:
            self._row(session, case_id)
            _expire(session, datetime.now(UTC))
            live = _live(session, case_id)
            if live is None:
                raise LeaseError(f"case {case_id} is held by nobody")
            _end(session, live, by, "taken back")
            return to_lease(live)

    def leases(self) -> list[Lease]:
        """Every live lease, the oldest first."""
        query = (
            select(LeaseRow)
            .where(LeaseRow.ended_at.is_(None), LeaseRow.expires_at > datetime.now(UTC))
            .order_by(LeaseRow.id)
        )
        with self._read() as session:
            return [to_lease(row) for row in session.scalars(query)]

    def _grant(self, session: Session, case: CaseRow, holder: str, now: datetime, duration: timedelta) -> Lease:
        row = LeaseRow(
            case_id=case.id,
            holder=holder,
            base_id=case.head_id,
            granted_at=now,
            heartbeat_at=now,
            expires_at=now + duration,
        )
        session.add(row)
        session.flush()
        note(session, holder, "lease.granted", case.id, until=row.expires_at.isoformat(timespec="seconds"))
        return to_lease(row)


def _live(session: Session, case_id: str) -> LeaseRow | None:
    return session.scalar(select(LeaseRow).where(LeaseRow.case_id == case_id, LeaseRow.ended_at.is_(None)))


def _renew(lease: LeaseRow, now: datetime, duration: timedelta) -> Lease:
    lease.heartbeat_at, lease.expires_at = now, max(lease.expires_at, now + duration)
    return to_lease(lease)


def _end(session: Session, lease: LeaseRow, by: str, why: str) -> None:
    lease.ended_at = datetime.now(UTC)
    note(session, by, "lease.ended", lease.case_id, holder=lease.holder, why=why)
    session.flush()


def _expire(session: Session, now: datetime) -> None:
    """End the leases that have run out."""
    over = session.scalars(select(LeaseRow).where(LeaseRow.ended_at.is_(None), LeaseRow.expires_at <= now)).all()
    for lease in over:
        lease.ended_at = lease.expires_at
        note(session, CLOCK, "lease.ended", lease.case_id, holder=lease.holder, why="expired")
    session.flush()


def _put_in_order(session: Session, order: Order) -> None:
    """Give every case that has none yet its place; all of them if the order is another one than before."""
    fact = session.get(FactRow, ORDER)
    if fact is None or fact.value != order.name:
        session.merge(FactRow(name=ORDER, value=order.name))
        ids = list(session.scalars(select(CaseRow.id)))
    else:
        ids = list(session.scalars(select(CaseRow.id).where(CaseRow.offered, CaseRow.rank.is_(None))))
    if not ids:
        return
    for start in range(0, len(ids), 5000):
        session.execute(
            update(CaseRow),
            [{"number": int(case_id), "rank": order.position(case_id)} for case_id in ids[start : start + 5000]],
        )
    session.flush()
