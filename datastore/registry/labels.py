"""Label versions: a file that is durable before its row is written, and a row that is never taken back."""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from datastore.atomic import sha256_of
from datastore.geometry import Geometry
from datastore.image_files import read_mask, write_mask
from datastore.mask_difference import edited_ml
from datastore.quality import to_plain
from datastore.records import Case, Kind, Label, NewLabel, Severity
from datastore.registry.rows import Records, relative_path
from datastore.registry.sessions import UnknownCaseError, note
from datastore.registry.standing import LUNGS, restate
from datastore.schema import CaseRow, LabelRow, LeaseRow
from datastore.volume import Volume

CASE_ID = re.compile(r"[0-9]{4,9}")
LABEL_ID = re.compile(r"[0-9]{4,9}-[0-9a-f]{8}")
LABEL_SUFFIX = ".nii.gz"
HUMAN = (Kind.DRAFT, Kind.SUBMITTED, Kind.ACCEPTED)  # kinds that follow a parent
RANKED = (Kind.SUBMITTED, Kind.ACCEPTED, Kind.REJECTED, Kind.PRELIMINARY)  # the best mask of a case first

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Parent:
    """What a new version follows.

    Attributes:
        id: The version, or None.
        human: The version by a human that it goes back to, leaving out drafts; None if it began at a model's mask.
    """

    id: str | None
    human: str | None


class Labels(Records):
    """Storing and finding label versions."""

    def add_label(self, case: Case | str, mask: Volume, new: NewLabel) -> Label:
        """Store a mask as the next version of its case.

        A submitted mask ends its author's lease and takes the place of the submitted version or drafts that it was
        made on. Made on an outdated version, it opens a conflict: both stay until a reviewer decides.

        Args:
            case: The case as its author saw it, or its id.
            mask: (z, y, x) uint8 on the grid of the case's image, in our numbering.
            new: What it is and where it comes from.

        Returns:
            The new version. It is on disk and in the database when this returns.

        Raises:
            UnknownCaseError: If there is no such case.
            ValueError: If the mask's shape is not the image's, a finding refuses it, or its parent is no version
                of the case.
        """
        with self._read() as session:
            known = self._case(session, case) if isinstance(case, str) else case
            case_id = known.id
            parent = self._parent(session, case_id, new)
            parent_row = None if parent.id is None else session.get(LabelRow, parent.id)
            parent_path = None if parent_row is None else self.labels_folder / parent_row.path
        if mask.array.shape != known.shape:
            raise ValueError(
                f"mask grid {mask.array.shape[::-1]} does not match image {known.shape[::-1]} of case {case_id}"
            )
        refused = next((item for item in new.findings or () if item.severity is Severity.REFUSE), None)
        if refused is not None:
            raise ValueError(f"mask of case {case_id} is not taken: {refused.text}")
        edited = None if parent_path is None else _edited_ml(parent_path, mask)
        label_id = f"{case_id}-{secrets.token_hex(4)}"
        relative = relative_path(case_id, label_id, LABEL_SUFFIX)
        path = self.labels_folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask, path)
        return self._add_row(known, new, label_id, str(relative), sha256_of(path), parent, edited)

    def labels(self, case_id: str) -> list[Label]:
        """Every version of a case's masks, oldest first.

        Raises:
            UnknownCaseError: If there is no such case.
        """
        with self._read() as session:
            self._row(session, case_id)
            rows = session.scalars(select(LabelRow).where(LabelRow.case_id == case_id).order_by(LabelRow.number))
            return [self._to_label(row) for row in rows]

    def label(self, label_id: str) -> Label:
        """The label version of that id.

        Raises:
            UnknownCaseError: If there is none.
        """
        with self._read() as session:
            return self._to_label(self._label_row(session, label_id))

    def latest_label(self, case_id: str, *kinds: Kind, model: str | None = None) -> Label | None:
        """The newest version of a case's mask, of some kinds and a model where given; None if there is none."""
        query = newest_first(case_id)
        if kinds:
            query = query.where(LabelRow.kind.in_([str(kind) for kind in kinds]))
        if model is not None:
            query = query.where(LabelRow.model == model)
        with self._read() as session:
            row = session.scalar(query.limit(1))
            return None if row is None else self._to_label(row)

    def best_label(self, case_id: str) -> Label | None:
        """The mask to show: submitted, else accepted, else rejected, else preliminary, the newest of its kind."""
        with self._read() as session:
            rows = session.scalars(newest_first(case_id).where(LabelRow.kind.in_([str(kind) for kind in RANKED])))
            best = min(rows, key=lambda row: (RANKED.index(Kind(row.kind)), -row.number), default=None)
            return None if best is None else self._to_label(best)

    def _add_row(
        self,
        known: Case,
        new: NewLabel,
        label_id: str,
        relative: str,
        digest: str,
        parent: _Parent,
        edited: float | None,
    ) -> Label:
        with self._write() as session:
            case = self._row(session, known.id)
            present = tuple(case.shape), Geometry.from_dict(case.geometry), case.sha256
            if present != (known.shape, known.geometry, known.sha256):
                raise ValueError(f"case {known.id} was registered anew meanwhile: submit the mask again")
            later = self._parent(session, known.id, new)
            if later != parent:  # another version came in between
                parent, edited = later, None
            is_conflict = (
                new.kind is Kind.SUBMITTED
                and new.target == LUNGS
                and case.head_id is not None
                and case.head_id != parent.human
            )
            row = LabelRow(
                id=label_id,
                case_id=known.id,
                number=case.label_count + 1,
                kind=str(new.kind),
                made_as=str(new.kind),
                author=new.author,
                tool=new.tool,
                client_id=new.client_id,
                model=new.model,
                parent_id=parent.id,
                conflict=is_conflict,
                sha256=digest,
                path=relative,
                seconds=new.seconds,
                edited_ml=edited,
                target=new.target,
                findings=None if new.findings is None else to_plain(new.findings),
                created_at=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            case.label_count += 1
            note(
                session,
                new.author,
                f"label.{new.kind}",
                known.id,
                label_id,
                number=row.number,
                model=new.model,
                parent=parent.id,
                conflict=True if is_conflict else None,
                target=None if new.target == LUNGS else new.target,
            )
            if new.target == LUNGS:
                self._follow(session, case, row)
                restate(session, case)
            return self._to_label(row)

    def _follow(self, session: Session, case: CaseRow, row: LabelRow) -> None:
        """What a new version means for those before it and for the lease."""
        kind = Kind(row.kind)
        if kind is Kind.PRELIMINARY:
            return
        older = (
            []
            if row.number == 1
            else session.scalars(
                select(LabelRow).where(
                    LabelRow.case_id == case.id, LabelRow.target == row.target, LabelRow.number < row.number
                )
            ).all()
        )
        for other in older:
            is_own_draft = other.kind == Kind.DRAFT and _same_hand(other, row)
            is_replaced = kind is Kind.SUBMITTED and other.id == row.parent_id and other.kind == Kind.SUBMITTED
            is_outdone = kind is Kind.ACCEPTED and other.kind in (Kind.SUBMITTED, Kind.ACCEPTED)
            through_draft = (
                kind is Kind.SUBMITTED
                and other.kind == Kind.SUBMITTED
                and other.id == self._human_of(session, row.parent_id)
            )
            if is_own_draft or is_replaced or is_outdone or through_draft:
                change_kind(session, other, Kind.SUPERSEDED, row.author, by_label=row.id)
        if kind is Kind.DRAFT:
            return
        case.reopened = False
        now = datetime.now(UTC)
        live = select(LeaseRow).where(LeaseRow.case_id == case.id, LeaseRow.ended_at.is_(None))
        for lease in session.scalars(live):
            lease.ended_at = now
            note(session, row.author, "lease.ended", case.id, row.id, holder=lease.holder, why=str(kind))

    def _parent(self, session: Session, case_id: str, new: NewLabel) -> _Parent:
        """The version that a new one follows.

        The client's word, else what its author submitted or saved since the case was given to them, else the head
        at that time, else the preliminary mask.
        """
        if new.target != LUNGS or new.kind not in HUMAN:
            return _Parent(None, None)
        if new.parent is not None:
            row = session.get(LabelRow, new.parent)
            if row is None or row.case_id != case_id:
                raise ValueError(f"parent {new.parent[:80]!r} is no version of case {case_id}")
            return _Parent(row.id, self._human_of(session, row.id))
        holder = new.client_id or new.author
        lease = session.scalar(
            select(LeaseRow)
            .where(LeaseRow.case_id == case_id, LeaseRow.holder == holder)
            .order_by(LeaseRow.id.desc())
            .limit(1)
        )
        by_hand = [str(kind) for kind in HUMAN]
        own = newest_first(case_id).where(LabelRow.made_as.in_(by_hand), LabelRow.target == LUNGS)
        own = own.where(LabelRow.author == new.author, LabelRow.client_id == new.client_id)
        if lease is not None:
            own = own.where(LabelRow.created_at >= lease.granted_at)
        mine = session.scalar(own.limit(1))
        if mine is not None:
            return _Parent(mine.id, self._human_of(session, mine.id))
        if lease is not None and lease.base_id is not None:
            return _Parent(lease.base_id, self._human_of(session, lease.base_id))
        shown = newest_first(case_id).where(LabelRow.kind == str(Kind.PRELIMINARY))
        if new.model is not None:
            shown = shown.where(LabelRow.model == new.model)
        preliminary = session.scalar(shown.limit(1)) or session.scalar(
            newest_first(case_id).where(LabelRow.kind == str(Kind.PRELIMINARY)).limit(1)
        )
        return _Parent(None if preliminary is None else preliminary.id, None)

    def _human_of(self, session: Session, label_id: str | None) -> str | None:
        """The finished version by a human that a version is or was drafted from."""
        while label_id is not None:
            row = session.get(LabelRow, label_id)
            if row is None or row.made_as == Kind.PRELIMINARY:
                return None
            if row.made_as != Kind.DRAFT:
                return row.id
            label_id = row.parent_id
        return None


def newest_first(case_id: str) -> Select[LabelRow]:
    """Lung masks of a case, the newest first."""
    return (
        select(LabelRow).where(LabelRow.case_id == case_id, LabelRow.target == LUNGS).order_by(LabelRow.number.desc())
    )


def change_kind(session: Session, row: LabelRow, kind: Kind, by: str, **detail: str | None) -> None:
    """Give a version another kind and write that into the audit."""
    note(session, by, f"label.{kind}", row.case_id, row.id, number=row.number, before=row.kind, **detail)
    row.kind = str(kind)


def _same_hand(one: LabelRow, other: LabelRow) -> bool:
    return (one.author, one.client_id) == (other.author, other.client_id)


def _edited_ml(parent: Path, mask: Volume) -> float | None:
    """Volume in ml that differs from the parent's mask; None if that cannot be read any more."""
    try:
        return edited_ml(read_mask(parent), mask)
    except (ValueError, OSError):
        logger.warning("%s: cannot be compared with its successor", parent.name)
        return None


__all__ = ["CASE_ID", "LABEL_ID", "LABEL_SUFFIX", "Labels", "UnknownCaseError"]
