"""The registry's tables, as SQLAlchemy 2 typed models; no model leaves this package."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, String, UniqueConstraint, text
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
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[int]: JSON}


class CaseRow(Base):
    """One CT series."""

    __tablename__ = "case"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    source_key: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    series_uid: Mapped[str | None]
    study_uid: Mapped[str | None]
    description: Mapped[str]
    sha256: Mapped[str | None] = mapped_column(String(64))
    shape: Mapped[list[int]]
    geometry: Mapped[dict[str, Any]]
    added_at: Mapped[datetime]


class LabelRow(Base):
    """One version of a case's mask: rows are added, never changed, never deleted."""

    __tablename__ = "label"
    __table_args__ = (
        UniqueConstraint("case_id", "number"),
        Index("ix_label_case_id_kind", "case_id", "kind"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    author: Mapped[str]
    tool: Mapped[str]
    client_id: Mapped[str | None]
    model: Mapped[str | None]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("label.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    created_at: Mapped[datetime]


class LeaseRow(Base):
    """A case given to an annotator; at most one row of a case has no end."""

    __tablename__ = "lease"
    __table_args__ = (
        Index(
            "uq_lease_live_case",
            "case_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"))
    holder: Mapped[str]
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
