"""The registry's tables, as SQLAlchemy 2 typed models; no model leaves this package."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into the database: as UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Out of the database: aware, UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Common to all tables: constraint names that migrations can refer to."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[int]: JSON,
        list[dict[str, Any]]: JSON,
    }


def _partial_index(name: str, *columns: str, where: str, sqlite: str = "", unique: bool = False) -> Index:
    """An index over the rows of a condition alone: it stays small however many rows are done with.

    Args:
        where: The condition.
        sqlite: The same for SQLite, which takes the index only for a query that says it in the same words.
    """
    return Index(name, *columns, unique=unique, sqlite_where=text(sqlite or where), postgresql_where=text(where))


class PatientRow(Base):
    """A patient by key, and the split that all cases of the patient are in, for ever."""

    __tablename__ = "patient"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    split: Mapped[str] = mapped_column(String(16))
    assigned_at: Mapped[datetime]


class CaseRow(Base):
    """One CT series.

    `eligible`, `offered`, `status`, `label_count` and `head_id` follow from other columns and rows; they stand
    here so that no question has to look at all cases. `standing.py` alone writes them.
    """

    __tablename__ = "case"
    __table_args__ = (
        Index("ix_case_status_number", "status", "number"),
        _partial_index("ix_case_offered_rank", "rank", "id", where="offered", sqlite="offered = 1"),
        _partial_index("ix_case_offered_number", "number", "offered", where="offered", sqlite="offered = 1"),
        _partial_index("ix_case_ineligible_number", "number", where="NOT eligible", sqlite="eligible = 0"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    source_key: Mapped[str] = mapped_column(unique=True)
    location: Mapped[str]
    series_uid: Mapped[str | None]
    study_uid: Mapped[str | None] = mapped_column(index=True)
    description: Mapped[str]
    sha256: Mapped[str | None] = mapped_column(String(64))
    shape: Mapped[list[int]]
    geometry: Mapped[dict[str, Any]]
    patient_key: Mapped[str] = mapped_column(ForeignKey("patient.key"), index=True)
    cohort: Mapped[str] = mapped_column(index=True)
    phenotype: Mapped[str | None] = mapped_column(index=True)
    exclusion: Mapped[str | None]
    outnumbered: Mapped[str | None]
    overrule: Mapped[str | None]
    reopened: Mapped[bool]
    eligible: Mapped[bool]
    offered: Mapped[bool]
    status: Mapped[str] = mapped_column(String(16))
    label_count: Mapped[int]
    head_id: Mapped[str | None] = mapped_column(String(64))
    rank: Mapped[int | None] = mapped_column(BigInteger)
    added_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class TagRow(Base):
    """A word that a case is found by."""

    __tablename__ = "tag"

    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True, index=True)


class ExclusionRow(Base):
    """A series that is known and is no volume."""

    __tablename__ = "exclusion"

    source_key: Mapped[str] = mapped_column(primary_key=True)
    location: Mapped[str]
    series_uid: Mapped[str | None]
    study_uid: Mapped[str | None]
    description: Mapped[str]
    slices: Mapped[int]
    reason: Mapped[str]
    damaged: Mapped[bool]
    noted_at: Mapped[datetime]


class DrawRow(Base):
    """Why a case was chosen; no case twice in one selection."""

    __tablename__ = "draw"
    __table_args__ = (UniqueConstraint("selection", "case_id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    selection: Mapped[str]
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    strategy: Mapped[str] = mapped_column(index=True)
    category: Mapped[str]
    score: Mapped[float | None]
    reason: Mapped[str]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    model: Mapped[str | None]
    drawn_at: Mapped[datetime]
    drawn_by: Mapped[str]


class LabelRow(Base):
    """One version of a case's mask: never deleted; `kind` and first findings aside, never changed."""

    __tablename__ = "label"
    __table_args__ = (
        UniqueConstraint("case_id", "number"),
        Index("ix_label_case_id_kind", "case_id", "kind"),
        _partial_index("ix_label_accepted", "case_id", where="kind = 'accepted'"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    made_as: Mapped[str] = mapped_column(String(16))
    author: Mapped[str]
    tool: Mapped[str]
    client_id: Mapped[str | None]
    model: Mapped[str | None]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("label.id"))
    conflict: Mapped[bool]
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    seconds: Mapped[float | None]
    edited_ml: Mapped[float | None]
    target: Mapped[str] = mapped_column(String(16))
    findings: Mapped[list[dict[str, Any]] | None]
    created_at: Mapped[datetime]


class LeaseRow(Base):
    """A case given to an annotator; at most one row of a case has no end."""

    __tablename__ = "lease"
    __table_args__ = (
        _partial_index("uq_lease_live_case", "case_id", where="ended_at IS NULL", unique=True),
        _partial_index("ix_lease_live_holder", "holder", where="ended_at IS NULL"),
        _partial_index("ix_lease_live_expires_at", "expires_at", where="ended_at IS NULL"),
        Index("ix_lease_case_id_holder", "case_id", "holder"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"))
    holder: Mapped[str]
    base_id: Mapped[str | None] = mapped_column(ForeignKey("label.id"))
    granted_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class SkipRow(Base):
    """An annotator who passed a case on; it is not offered to them again."""

    __tablename__ = "skip"

    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    skipped_at: Mapped[datetime]


class ModelRow(Base):
    """A model version; none without the checksum of its weights."""

    __tablename__ = "model"

    version: Mapped[str] = mapped_column(primary_key=True)
    architecture: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(ForeignKey("model.version"))
    round_number: Mapped[int | None] = mapped_column(ForeignKey("round.number"))
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


class RoundRow(Base):
    """One retrain; at most one is active, and at most one waits."""

    __tablename__ = "round"
    __table_args__ = (
        _partial_index("uq_round_active", "active", where="active", sqlite="active = 1", unique=True),
        _partial_index("uq_round_waiting", "state", where="state = 'queued'", unique=True),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    trigger: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    active: Mapped[bool]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    champion: Mapped[str | None]
    candidate: Mapped[str | None]
    decision: Mapped[str | None]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    snapshot_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any]]
    progressed_at: Mapped[datetime | None]
    attempts: Mapped[int]
    cancel_by: Mapped[str | None]
    refreshed_at: Mapped[datetime | None]


class RoundLabelRow(Base):
    """A label version that a round trained on."""

    __tablename__ = "round_label"

    round_number: Mapped[int] = mapped_column(ForeignKey("round.number"), primary_key=True)
    label_id: Mapped[str] = mapped_column(ForeignKey("label.id"), primary_key=True)


class UserRow(Base):
    """Somebody who works with the project."""

    __tablename__ = "user"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None]
    token_hash: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class EventRow(Base):
    """Something that happened; the database itself refuses to change or delete one."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_case_id_id", "case_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(64))
    case_id: Mapped[str | None] = mapped_column(String(32))
    label_id: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]]


class TallyRow(Base):
    """How many cases have a status, eligible and not."""

    __tablename__ = "tally"

    status: Mapped[str] = mapped_column(String(16), primary_key=True)
    eligible: Mapped[bool] = mapped_column(primary_key=True)
    count: Mapped[int]


class FactRow(Base):
    """A single fact of the registry itself, e.g. which order the ranks were made for."""

    __tablename__ = "fact"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str]
