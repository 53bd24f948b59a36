"""Label versions: a file that is durable before its row is written, and a row that is never taken back."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from datastore.atomic import fsync_folder, sha256_of
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
VERSIONS = select(LabelRow).where(LabelRow.case_id == bindparam("case_id")).order_by(LabelRow.number)
LIVE_LEASES = select(LeaseRow).where(LeaseRow.case_id == bindparam("case_id"), LeaseRow.ended_at.is_(None))
LAST_LEASE = (
    select(LeaseRow)
    .where(LeaseRow.case_id == bindparam("case_id"), LeaseRow.holder == bindparam("holder"))
    .order_by(LeaseRow.id.desc())
    .limit(1)
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _LabelFile:
    """A mask on disk that has no row yet.

    Attributes:
        id: Of the version that it becomes.
        path: Below the labels' folder.
    """

    id: str
    path: str
    sha256: str


@dataclass(frozen=True)
class _Parent:
    """What a new version follows.

    Attributes:
        id: The version, or None.
        path: Its file, below the labels' folder.
        human: The version by a human that it goes back to, leaving out drafts; None if it began at a model's mask.
    """

    id: str | None = None
    path: str | None = None
    human: str | None = None

    @classmethod
    def of(cls, row: LabelRow, versions: Sequence[LabelRow]) -> _Parent:
        """That a version is followed."""
        human = _human(row.id, versions)
        return cls(row.id, row.path, None if human is None else human.id)


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
        known = self._known(case) if isinstance(case, str) else case
        case_id, parent = known.id, _Parent()
        if known.label_count:
            with self._read() as session:
                parent = _parent(session, case_id, new, _versions(session, case_id))
        parent_path = None if parent.path is None else self.labels_folder / parent.path
        if mask.array.shape != known.shape:
            raise ValueError(
                f"mask grid {mask.array.shape[::-1]} does not match image {known.shape[::-1]} of case {case_id}"
            )
        refused = next((item for item in new.findings or () if item.severity is Severity.REFUSE), None)
        if refused is not None:
            raise ValueError(f"mask of case {case_id} is not taken: {refused.text}")
        edited = None if parent_path is None else _edited_ml(parent_path, mask)
        return self._add_row(known, new, self._write_file(case_id, mask), parent, edited)

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

    def _write_file(self, case_id: str, mask: Volume) -> _LabelFile:
        """Put a mask on disk."""
        label_id = f"{case_id}-{secrets.token_hex(4)}"
        relative = relative_path(case_id, label_id, LABEL_SUFFIX)
        path = self.labels_folder / relative
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fsync_folder(self.labels_folder)  # or a power cut takes the folder with the mask in it
        write_mask(mask, path)
        return _LabelFile(label_id, str(relative), sha256_of(path))

    def _known(self, case_id: str) -> Case:
        with self._read() as session:
            return self._case(session, case_id)

    def _add_row(
        self,
        known: Case,
        new: NewLabel,
        file: _LabelFile,
        parent: _Parent,
        edited: float | None,
    ) -> Label:
        with self._write() as session:
            return self._insert_label(session, known, new, file, parent, edited)

    def _insert_label(
        self,
        session: Session,
        known: Case,
        new: NewLabel,
        file: _LabelFile,
        parent: _Parent = _Parent(),
        edited: float | None = None,
    ) -> Label:
        case = self._row(session, known.id)
        present = tuple(case.shape), Geometry.from_dict(case.geometry), case.sha256
        if present != (known.shape, known.geometry, known.sha256):
            raise ValueError(f"case {known.id} was registered anew meanwhile: submit the mask again")
        older = _versions(session, known.id)
        later = _parent(session, known.id, new, older)
        if later != parent:  # another version came in between
            parent, edited = later, None
        is_conflict = (
            new.kind is Kind.SUBMITTED
            and new.target == LUNGS
            and case.head_id is not None
            and case.head_id != parent.human
        )
        row = LabelRow(
            id=file.id,
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
            sha256=file.sha256,
            path=file.path,
            seconds=new.seconds,
            edited_ml=edited,
            target=new.target,
            findings=None if new.findings is None else to_plain(new.findings),
            created_at=datetime.now(UTC),
        )
        session.add(row)
        case.label_count += 1
        note(
            session,
            new.author,
            f"label.{new.kind}",
            known.id,
            file.id,
            number=row.number,
            model=new.model,
            parent=parent.id,
            conflict=True if is_conflict else None,
            target=None if new.target == LUNGS else new.target,
        )
        if new.target == LUNGS:
            _follow(session, case, row, older)
            restate(session, case, [*older, row])
        return self._to_label(row)


def _versions(session: Session, case_id: str) -> Sequence[LabelRow]:
    """Every version of a case's masks, the oldest first."""
    return session.scalars(VERSIONS, {"case_id": case_id}).all()


def _follow(session: Session, case: CaseRow, row: LabelRow, older: Sequence[LabelRow]) -> None:
    """What a new version means for those before it and for the lease."""
    kind = Kind(row.kind)
    if kind is Kind.PRELIMINARY:
        return
    human = _human(row.parent_id, older)
    for other in older:
        if other.target != row.target:
            continue
        is_own_draft = other.kind == Kind.DRAFT and _same_hand(other, row)
        is_replaced = kind is Kind.SUBMITTED and other.kind == Kind.SUBMITTED and other is human
        is_outdone = kind is Kind.ACCEPTED and other.kind in (Kind.SUBMITTED, Kind.ACCEPTED)
        if is_own_draft or is_replaced or is_outdone:
            change_kind(session, other, Kind.SUPERSEDED, row.author, by_label=row.id)
    if kind is Kind.DRAFT:
        return
    case.reopened = False
    for lease in session.scalars(LIVE_LEASES, {"case_id": case.id}):
        lease.ended_at = row.created_at
        note(session, row.author, "lease.ended", case.id, row.id, holder=lease.holder, why=str(kind))


def _parent(session: Session, case_id: str, new: NewLabel, versions: Sequence[LabelRow]) -> _Parent:
    """The version that a new one follows.

    The client's word, else what its author submitted or saved since the case was given to them, else the head at
    that time, else the preliminary mask.

    Raises:
        ValueError: If the client names a version that is none of the case.
    """
    if new.target != LUNGS or new.kind not in HUMAN:
        return _Parent()
    lungs = [row for row in versions if row.target == LUNGS][::-1]  # the newest first
    if new.parent is not None:
        named = next((row for row in lungs if row.id == new.parent), None)
        if named is None:
            raise ValueError(f"parent {new.parent[:80]!r} is no version of case {case_id}")
        return _Parent.of(named, versions)
    holder = new.client_id or new.author
    lease = session.scalar(LAST_LEASE, {"case_id": case_id, "holder": holder})
    since = None if lease is None else lease.granted_at
    for row in lungs:
        by_hand = Kind(row.made_as) in HUMAN and (row.author, row.client_id) == (new.author, new.client_id)
        if by_hand and (since is None or row.created_at >= since):
            return _Parent.of(row, versions)
    if lease is not None and lease.base_id is not None:
        return _Parent.of(next(row for row in lungs if row.id == lease.base_id), versions)
    preliminary = [row for row in lungs if row.made_as == Kind.PRELIMINARY]
    until = None if lease is None else lease.ended_at or lease.expires_at
    given = [row for row in preliminary if until is None or row.created_at <= until]  # later ones are of a refresh
    shown = [row for row in preliminary if row.model == new.model] or given or preliminary
    return _Parent.of(shown[0], versions) if shown else _Parent()


def _human(label_id: str | None, versions: Sequence[LabelRow]) -> LabelRow | None:
    """The finished version by a human that a version is, or was drafted from."""
    by_id = {row.id: row for row in versions}
    row = by_id.get(label_id or "")
    while row is not None and row.made_as == Kind.DRAFT:
        row = by_id.get(row.parent_id or "")
    return None if row is None or row.made_as == Kind.PRELIMINARY else row


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
