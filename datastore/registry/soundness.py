"""Is everything as it should be: label files against their rows, and what is kept twice against its source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select, text

from datastore.atomic import TEMPORARY_PREFIX, sha256_of
from datastore.records import DONE, Kind
from datastore.registry.rows import Records
from datastore.registry.standing import LUNGS, status_of
from datastore.schema import CaseRow, LabelRow, TallyRow

STILL_WRITING_SECONDS = 60  # a younger file without a row may be a submission under way


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it should be.

    Attributes:
        is_loss: Whether something that was given is gone or changed; otherwise something is left over.
        what: What was found.
    """

    is_loss: bool
    what: str


class Soundness(Records):
    """Checks of the whole registry."""

    def check(self) -> Iterator[Fault]:
        """Compare every label file with its row, and every derived number with what it follows from."""
        files = sorted(path for path in self.labels_folder.glob("*/*") if path.is_file())  # before the rows
        with self._read() as session:
            rows = session.execute(select(LabelRow.path, LabelRow.sha256)).all()
        expected = {self.labels_folder / path: digest for path, digest in rows}
        for path, digest in sorted(expected.items()):
            try:
                if sha256_of(path) != digest:
                    yield Fault(True, f"{path}: the label's file was changed after it was stored")
            except FileNotFoundError:
                yield Fault(True, f"{path}: the label's file is missing: bring it back from a backup")
            except OSError as error:
                yield Fault(True, f"{path}: the label's file cannot be read: {error.strerror}")
        for path in files:
            if path in expected or not path.exists() or time.time() - path.stat().st_mtime < STILL_WRITING_SECONDS:
                continue
            torn = path.name.startswith(TEMPORARY_PREFIX)
            what = "left over from an interrupted write" if torn else "a mask that the registry does not know"
            yield Fault(False, f"{path}: {what}; it can be looked at and removed")
        yield from self._check_database()

    def _check_database(self) -> Iterator[Fault]:
        with self._read() as session:
            if self.engine.dialect.name == "sqlite":
                for (sentence,) in session.execute(text("PRAGMA integrity_check(10)")):
                    if sentence != "ok":
                        yield Fault(True, f"the registry's file is damaged: {sentence}")
            counted = {
                (status, eligible): count
                for status, eligible, count in session.execute(
                    select(CaseRow.status, CaseRow.eligible, func.count()).group_by(CaseRow.status, CaseRow.eligible)
                )
            }
            tallied = {(row.status, row.eligible): row.count for row in session.scalars(select(TallyRow)) if row.count}
            if counted != tallied:
                yield Fault(True, f"the registry counts its cases wrongly: {tallied}, expected {counted}")
            kinds: dict[str, list[Kind]] = {}
            conflicts: set[str] = set()
            columns = (LabelRow.case_id, LabelRow.kind, LabelRow.conflict)
            query = select(*columns).where(LabelRow.target == LUNGS).order_by(LabelRow.case_id, LabelRow.number)
            for case_id, kind, conflict in session.execute(query):
                kinds.setdefault(case_id, []).append(Kind(kind))
                if conflict and kind == Kind.SUBMITTED:
                    conflicts.add(case_id)
            per_case = select(LabelRow.case_id, func.count()).group_by(LabelRow.case_id)
            counts = {row[0]: row[1] for row in session.execute(per_case)}
            derived = (CaseRow.status, CaseRow.label_count, CaseRow.eligible, CaseRow.offered)
            causes = (CaseRow.exclusion, CaseRow.outnumbered, CaseRow.overrule, CaseRow.reopened)
            for row in session.execute(select(CaseRow.id, *derived, *causes)):
                follows = status_of(kinds.get(row.id, []), has_conflict=row.id in conflicts)
                eligible = (row.exclusion is None and row.outnumbered is None) or row.overrule is not None
                offered = eligible and (row.reopened or follows not in DONE)
                expected = _standing(str(follows), counts.get(row.id, 0), eligible, offered)
                said = _standing(row.status, row.label_count, row.eligible, row.offered)
                if said != expected:
                    yield Fault(True, f"case {row.id} is said to be {said}, but its masks and rules say {expected}")


def _standing(status: str, masks: int, eligible: bool, offered: bool) -> str:
    words = (f"{masks} masks", "eligible" if eligible else "not eligible", "offered" if offered else "not offered")
    return ", ".join((status, *words))
