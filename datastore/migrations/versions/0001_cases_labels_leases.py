"""Cases, label versions and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the first three tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "case",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("source_key", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("series_uid", sa.String),
        sa.Column("study_uid", sa.String),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("shape", sa.JSON, nullable=False),
        sa.Column("geometry", sa.JSON, nullable=False),
        sa.Column("added_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_case"),
        sa.UniqueConstraint("id", name="uq_case_id"),
        sa.UniqueConstraint("source_key", name="uq_case_source_key"),
    )
    op.create_table(
        "label",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("tool", sa.String, nullable=False),
        sa.Column("client_id", sa.String),
        sa.Column("model", sa.String),
        sa.Column("parent_id", sa.String(64)),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name="fk_label_case_id_case"),
        sa.ForeignKeyConstraint(["parent_id"], ["label.id"], name="fk_label_parent_id_label"),
        sa.UniqueConstraint("case_id", "number", name="uq_label_case_id"),
    )
    op.create_index("ix_label_case_id_kind", "label", ["case_id", "kind"])
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("granted_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("ended_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_lease"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name="fk_lease_case_id_case"),
    )
    op.create_index(
        "uq_lease_live_case",
        "lease",
        ["case_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
