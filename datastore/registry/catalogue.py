"""Finding cases: by id, by filter, page by page; tags, phenotypes, and overruling what the rules leave out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Integer, Select, bindparam, select

from datastore.records import Case, Counts, Kind, Split, Status
from datastore.registry.intake import LOCAL
from datastore.registry.rows import Records, case_query
from datastore.registry.sessions import note
from datastore.registry.standing import LUNGS, restate
from datastore.schema import CaseRow, DrawRow, LabelRow, PatientRow, TagRow, TallyRow

PAGE = 500
EVERYTHING = 2**62  # rows; more than there will be
FINISHED = (Kind.SUBMITTED, Kind.ACCEPTED)


@dataclass(frozen=True)
class CaseFilter:
    """Which cases; what is None does not matter.

    Attributes:
        statuses: Any of these.
        eligible: Whether the selection takes them, or somebody overruled it; None takes both.
        offered: Whether they wait for an annotator: eligible, and to do or opened again; None takes both.
        strategy: Drawn by this strategy.
    """

    statuses: tuple[Status, ...] = ()
    eligible: bool | None = True
    offered: bool | None = None
    cohort: str | None = None
    tag: str | None = None
    phenotype: str | None = None
    strategy: str | None = None
    split: Split | None = None


EVERY_CASE = CaseFilter(eligible=None)
TALLY = select(*TallyRow.__table__.columns)  # of the table, not of the model: in half the time


class Catalogue(Records):
    """Questions about cases."""

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises:
            UnknownCaseError: If there is none.
        """
        with self._read() as session:
            return self._case(session, case_id)

    def cases(self, which: CaseFilter = EVERY_CASE, *, limit: int | None = None, offset: int = 0) -> list[Case]:
        """Cases in the order they were registered.

        Args:
            which: The filter.
            limit: At most so many; None for all, which takes its time with many.
            offset: Leave out so many first.
        """
        query = _filtered(case_query(), which).order_by(CaseRow.number).limit(limit).offset(offset)
        with self._read() as session:
            return self._cases(session, query)

    def each_case(self, which: CaseFilter = EVERY_CASE) -> Iterator[Case]:
        """Cases in the order they were registered, read page by page: of any number, in constant memory."""
        last = 0
        while True:
            query = _filtered(case_query(), which).where(CaseRow.number > last).order_by(CaseRow.number).limit(PAGE)
            with self._read() as session:
                page = self._cases(session, query)
            yield from page
            if len(page) < PAGE:
                return
            last = int(page[-1].id)

    def case_ids(self, which: CaseFilter = EVERY_CASE, *, after: str = "", limit: int | None = None) -> list[str]:
        """Ids of cases in the order they were registered, from the case after `after` on, at most `limit`."""
        query, last = _ids(which), int(after or 0)
        rows = self._rows(query, {"last": last, "limit": EVERYTHING if limit is None else limit})
        return [f"{number:04d}" for (number,) in rows]

    def finished(self, which: CaseFilter = EVERY_CASE) -> list[tuple[str, str]]:
        """Case and label id of every case with a mask by a human, in the order the cases were registered.

        The mask is the newest one that is submitted or accepted; one that was rejected never is.
        """
        query = _filtered(select(CaseRow.id, LabelRow.id).join(LabelRow, LabelRow.case_id == CaseRow.id), which)
        query = query.where(LabelRow.kind.in_([str(kind) for kind in FINISHED]), LabelRow.target == LUNGS)
        newest = dict(self._rows(query.order_by(CaseRow.number, LabelRow.number)))
        return list(newest.items())

    def counts(self) -> Counts:
        """How many eligible cases there are in each status, and how many are not eligible."""
        rows = self._rows(TALLY)
        by_status = {Status(status): count for status, eligible, count in rows if eligible and count}
        ineligible = sum(count for _, eligible, count in rows if not eligible)
        return Counts(sum(by_status.values()), by_status, ineligible)

    def overrule(self, case_id: str, reason: str, by: str = LOCAL) -> Case:
        """Take a case that the selection rules leave out; the reason stands in the audit.

        Raises:
            UnknownCaseError: If there is no such case.
            ValueError: Without a reason, or if no rule leaves the case out.
        """
        if not reason.strip():
            raise ValueError(f"case {case_id}: expected a reason for overruling the selection")
        with self._write() as session:
            row = self._row(session, case_id)
            excluded = row.exclusion or row.outnumbered
            if excluded is None:
                raise ValueError(f"case {case_id} is eligible: there is nothing to overrule")
            row.overrule = reason.strip()
            note(session, by, "case.overruled", case_id, exclusion=excluded, reason=row.overrule)
            restate(session, row)
            return self._case(session, case_id)

    def withdraw_overrule(self, case_id: str, by: str = LOCAL) -> Case:
        """Let the selection rules decide about a case again."""
        with self._write() as session:
            row = self._row(session, case_id)
            if row.overrule is not None:
                row.overrule = None
                note(session, by, "case.overrule_withdrawn", case_id, exclusion=row.exclusion or row.outnumbered)
                restate(session, row)
            return self._case(session, case_id)

    def tag(self, case_id: str, add: Sequence[str] = (), remove: Sequence[str] = (), by: str = LOCAL) -> Case:
        """Add tags to a case and take others away.

        Raises:
            UnknownCaseError: If there is no such case.
            ValueError: If a tag is empty or has white space at an end.
        """
        for tag in add:
            if not tag or tag != tag.strip() or len(tag) > 100:
                raise ValueError(f"bad tag {tag[:100]!r}: expected a word")
        with self._write() as session:
            self._row(session, case_id)
            known = set(session.scalars(select(TagRow.tag).where(TagRow.case_id == case_id)))
            new, gone = sorted(set(add) - known), sorted(set(remove) & known - set(add))
            session.add_all(TagRow(case_id=case_id, tag=tag) for tag in new)
            for tag in gone:
                session.delete(session.get_one(TagRow, (case_id, tag)))
            if new or gone:
                note(session, by, "case.tagged", case_id, added=new or None, removed=gone or None)
            session.flush()
            return self._case(session, case_id)

    def set_phenotype(self, case_id: str, phenotype: str | None, by: str = LOCAL) -> Case:
        """Say which image phenotype a case has (Hofmanninger et al. 2020, sec. II-C)."""
        with self._write() as session:
            row = self._row(session, case_id)
            if row.phenotype != phenotype:
                note(session, by, "case.phenotype", case_id, before=row.phenotype, after=phenotype)
                row.phenotype = phenotype
                session.flush()
            return self._case(session, case_id)


@lru_cache(maxsize=64)
def _ids(which: CaseFilter) -> Select[Any]:
    """Numbers of the cases of a filter after a number, at most so many; built once."""
    table = CaseRow.__table__
    query = _filtered(select(table.c.number), which).where(table.c.number > bindparam("last", type_=Integer))
    return query.order_by(table.c.number).limit(bindparam("limit", type_=BigInteger))


def _filtered(query: Any, which: CaseFilter) -> Any:
    if which.statuses:
        query = query.where(CaseRow.status.in_([str(status) for status in which.statuses]))
    if which.offered is not None:
        query = query.where(CaseRow.offered if which.offered else ~CaseRow.offered)
    if which.eligible is not None and not which.offered:
        query = query.where(CaseRow.eligible if which.eligible else ~CaseRow.eligible)
    if which.cohort is not None:
        query = query.where(CaseRow.cohort == which.cohort)
    if which.phenotype is not None:
        query = query.where(CaseRow.phenotype == which.phenotype)
    if which.tag is not None:
        query = query.where(CaseRow.id.in_(select(TagRow.case_id).where(TagRow.tag == which.tag)))
    if which.strategy is not None:
        query = query.where(CaseRow.id.in_(select(DrawRow.case_id).where(DrawRow.strategy == which.strategy)))
    if which.split is not None:
        keys = select(PatientRow.key).where(PatientRow.split == str(which.split))
        query = query.where(CaseRow.patient_key.in_(keys))
    return query
