"""The registry of cases, label versions and leases: the one owner of the database.

One method is one transaction; frozen records come out. A label's file is durable before its row is written, so
every row has its file, and a crash in between leaves at most an orphan file, which `check` finds.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from datastore.atomic import TEMPORARY_PREFIX, sha256_of
from datastore.database import DatabaseUrl, RegistryError, open_engine
from datastore.image_files import write_mask
from datastore.queries import case_query, label_summary, live_leases, newest_first, status_of, to_case
from datastore.records import Case, Counts, Kind, Label, Lease, NewCase, NewLabel, Status
from datastore.schema import CaseRow, LabelRow, LeaseRow
from datastore.volume import Volume

CASE_ID = re.compile(r"[0-9]{4,9}")
LABEL_ID = re.compile(r"[0-9]{4,9}-[0-9a-f]{8}")
LABEL_SUFFIX = ".nii.gz"
STILL_WRITING_SECONDS = 60  # a younger file without a row may be a submission under way


class UnknownCaseError(LookupError):
    """No case or label has that id."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry:
    """Cases, label versions and leases of one project."""

    def __init__(self, engine: Engine, labels_folder: Path) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writes=True)
        self.labels_folder = labels_folder

    @classmethod
    def open(cls, url: DatabaseUrl, labels_folder: Path) -> Registry:
        """The registry at a SQLAlchemy URL, made if it is not there yet.

        Raises:
            RegistryError: If it cannot be opened or is none.
        """
        return cls(open_engine(url), labels_folder)

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    # Cases

    def add_case(self, new: NewCase) -> tuple[Case, bool]:
        """Register a series, or find the case that it is already.

        A series that changed since (it was still being copied) is registered anew while nobody has worked on it.

        Returns:
            The case, and whether it is new.

        Raises:
            ValueError: If the series is known with other slices, and has masks already.
        """
        with self._write() as session:
            known = session.scalar(select(CaseRow).where(CaseRow.source_key == new.source.key))
            if known is not None:
                case = self._case(session, known.id)
                same_place = new.geometry.corner_distance_mm(case.geometry, new.shape) < 0.1
                if case.shape != new.shape or not same_place or case.sha256 != new.sha256:
                    if case.label_count:
                        raise ValueError(
                            f"{new.source.path}: is case {case.id} already, of {case.shape[::-1]} voxels with "
                            f"{case.label_count} masks, but is another image of {new.shape[::-1]} voxels now"
                        )
                    known.shape, known.geometry, known.sha256 = list(new.shape), new.geometry.to_dict(), new.sha256
                if not Path(known.path).exists() or not case.label_count:
                    known.path = str(new.source.path)  # the series was moved
                session.flush()
                return self._case(session, known.id), False
            row = CaseRow(
                id=f"new-{secrets.token_hex(8)}",
                source_key=new.source.key,
                path=str(new.source.path),
                series_uid=new.source.series_uid,
                study_uid=new.study_uid,
                description=new.description,
                sha256=new.sha256,
                shape=list(new.shape),
                geometry=new.geometry.to_dict(),
                added_at=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            row.id = f"{row.number:04d}"
            session.flush()
            return self._case(session, row.id), True

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            UnknownCaseError: If there is none.
        """
        with self._read() as session:
            return self._case(session, case_id)

    def cases(self, status: Status | None = None) -> list[Case]:
        """All cases, or those of one status, in the order they were registered."""
        with self._read() as session:
            found = [to_case(row) for row in session.execute(case_query(datetime.now(UTC)))]
        return [item for item in found if status is None or item.status is status]

    def counts(self) -> Counts:
        """How many cases there are in each status."""
        labelled = label_summary().subquery()
        status = status_of(labelled.c.label_count, labelled.c.submitted).label("status")
        query = (
            select(status, func.count())
            .select_from(CaseRow)
            .outerjoin(labelled, labelled.c.case_id == CaseRow.id)
            .group_by(status)
        )
        with self._read() as session:
            by_status = {Status(name): int(count) for name, count in session.execute(query)}
        return Counts(sum(by_status.values()), by_status)

    # Labels

    def add_label(self, case_id: str, mask: Volume, new: NewLabel) -> Label:
        """Store a mask as the next version of its case; a submitted one ends the case's lease.

        Args:
            case_id: The case.
            mask: (z, y, x) uint8 on the grid of the case's image, in our numbering.
            new: What it is and where it comes from.

        Returns:
            The new version. It is on disk and in the database when this returns.

        Raises:
            UnknownCaseError: If there is no such case.
            ValueError: If the mask's shape is not the image's.
        """
        known = self.case(case_id)
        if mask.array.shape != known.shape:
            raise ValueError(
                f"mask grid {mask.array.shape[::-1]} does not match image {known.shape[::-1]} of case {case_id}"
            )
        label_id = f"{case_id}-{secrets.token_hex(4)}"
        relative = f"{case_id}/{label_id}{LABEL_SUFFIX}"
        path = self.labels_folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask, path)
        digest = sha256_of(path)
        with self._write() as session:
            present = self._case(session, case_id)
            if (present.shape, present.geometry, present.sha256) != (known.shape, known.geometry, known.sha256):
                raise ValueError(f"case {case_id} was registered anew meanwhile: submit the mask again")
            latest = session.scalar(newest_first(case_id).limit(1))
            parent = None if new.kind is Kind.PRELIMINARY else self._best(session, case_id)
            now = datetime.now(UTC)
            row = LabelRow(
                id=label_id,
                case_id=case_id,
                number=1 if latest is None else latest.number + 1,
                kind=str(new.kind),
                author=new.author,
                tool=new.tool,
                client_id=new.client_id,
                model=new.model,
                parent_id=None if parent is None else parent.id,
                sha256=digest,
                path=relative,
                created_at=now,
            )
            session.add(row)
            if new.kind is Kind.SUBMITTED:
                session.execute(
                    update(LeaseRow)
                    .where(LeaseRow.case_id == case_id, LeaseRow.ended_at.is_(None))
                    .values(ended_at=now)
                )
            session.flush()
            return self._to_label(row)

    def labels(self, case_id: str) -> list[Label]:
        """Every version of a case's mask, oldest first.

        Raises:
            UnknownCaseError: If there is no such case.
        """
        with self._read() as session:
            self._case(session, case_id)
            rows = session.scalars(select(LabelRow).where(LabelRow.case_id == case_id).order_by(LabelRow.number))
            return [self._to_label(row) for row in rows]

    def latest_label(self, case_id: str, kind: Kind | None = None, model: str | None = None) -> Label | None:
        """The newest version of a case's mask, of one kind and model where given; None if there is none."""
        query = newest_first(case_id)
        if kind is not None:
            query = query.where(LabelRow.kind == str(kind))
        if model is not None:
            query = query.where(LabelRow.model == model)
        with self._read() as session:
            row = session.scalar(query.limit(1))
            return None if row is None else self._to_label(row)

    def best_label(self, case_id: str) -> Label | None:
        """The newest submitted version of a case's mask, else the newest of all; None if there is none."""
        with self._read() as session:
            row = self._best(session, case_id)
            return None if row is None else self._to_label(row)

    def check(self) -> Iterator[str]:
        """Compare every label file with its row; yields a sentence for each thing that is wrong."""
        files = sorted(path for path in self.labels_folder.glob("*/*") if path.is_file())  # before the rows
        with self._read() as session:
            expected = {self.labels_folder / row.path: row.sha256 for row in session.scalars(select(LabelRow))}
        for path, digest in sorted(expected.items()):
            if not path.exists():
                yield f"{path}: the label's file is missing"
            elif sha256_of(path) != digest:
                yield f"{path}: the label's file was changed after it was stored"
        for path in files:
            if path in expected or not path.exists() or time.time() - path.stat().st_mtime < STILL_WRITING_SECONDS:
                continue
            torn = path.name.startswith(TEMPORARY_PREFIX)
            what = "left over from an interrupted write" if torn else "a mask that the registry does not know"
            yield f"{path}: {what}; it can be looked at and removed"

    # Leases

    def open_cases(self, holder: str) -> list[str]:
        """Cases that may be offered to `holder`: without a submitted mask, held by nobody else."""
        now = datetime.now(UTC)
        with self._read() as session:
            return [
                item.id
                for item in map(to_case, session.execute(case_query(now)))
                if item.status is not Status.SUBMITTED and item.leased_by in (None, holder)
            ]

    def lease_first(self, ranked: Iterable[str], holder: str, duration: timedelta) -> Lease | None:
        """Lease the first case of a ranking that is still free, all in one transaction.

        A case that `holder` holds already comes last: asking again means to move on.

        Args:
            ranked: Ids of cases, best first.
            holder: Who asks.
            duration: How long the lease lives.

        Returns:
            The lease, or None if no case of the ranking is free.
        """
        with self._write() as session:
            now = datetime.now(UTC)
            session.execute(
                update(LeaseRow)
                .where(LeaseRow.ended_at.is_(None), LeaseRow.expires_at <= now)
                .values(ended_at=LeaseRow.expires_at)
            )
            live = {row.case_id: row for row in session.scalars(live_leases())}
            done = set(session.scalars(select(LabelRow.case_id).where(LabelRow.kind == str(Kind.SUBMITTED)).distinct()))
            free = [case_id for case_id in ranked if case_id not in done]
            own = [case_id for case_id in free if case_id in live and live[case_id].holder == holder]
            chosen = next((case_id for case_id in free if case_id not in live), None)
            if chosen is None and own:
                chosen = min(own, key=lambda case_id: live[case_id].granted_at)
                live[chosen].ended_at = now
                session.flush()
            if chosen is None:
                return None
            row = LeaseRow(case_id=chosen, holder=holder, granted_at=now, expires_at=now + duration)
            session.add(row)
            session.flush()
            return Lease(row.case_id, row.holder, row.granted_at, row.expires_at)

    def release(self, case_id: str, holder: str) -> None:
        """End a holder's lease on a case; nothing happens if there is none."""
        with self._write() as session:
            session.execute(
                update(LeaseRow)
                .where(LeaseRow.case_id == case_id, LeaseRow.holder == holder, LeaseRow.ended_at.is_(None))
                .values(ended_at=datetime.now(UTC))
            )

    # How it is done

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._translated(), Session(self._engine) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with (
            self._translated(),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise RegistryError(f"the registry cannot be used: {error.orig}") from error

    def _case(self, session: Session, case_id: str) -> Case:
        row = session.execute(case_query(datetime.now(UTC)).where(CaseRow.id == case_id)).one_or_none()
        if row is None:
            raise UnknownCaseError(f"no case {case_id!r}")
        return to_case(row)

    def _best(self, session: Session, case_id: str) -> LabelRow | None:
        newest = newest_first(case_id)
        submitted = session.scalar(newest.where(LabelRow.kind == str(Kind.SUBMITTED)).limit(1))
        return submitted or session.scalar(newest.limit(1))

    def _to_label(self, row: LabelRow) -> Label:
        return Label(
            id=row.id,
            case_id=row.case_id,
            number=row.number,
            kind=Kind(row.kind),
            author=row.author,
            tool=row.tool,
            client_id=row.client_id,
            model=row.model,
            parent=row.parent_id,
            sha256=row.sha256,
            path=self.labels_folder / row.path,
            created_at=row.created_at,
        )
