"""Patients and splits, eligibility, reviews, drafts, draws, rounds, models, users, audit; places are encrypted."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from datastore.patients import study_key
from datastore.records import Source

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NO = sa.text("false")
HUMAN = ("submitted",)  # what 0001 knew besides preliminary masks

APPEND_ONLY = {
    "event": ("DELETE", "UPDATE"),
    "label": (
        "DELETE",
        "UPDATE OF id, case_id, number, made_as, author, tool, client_id, model, parent_id, conflict, sha256, path, "
        "seconds, edited_ml, target, created_at",
    ),
}


def upgrade() -> None:
    """Add what the whole registry needs and carry every case, label and lease over."""
    _create_tables()
    _extend_case()
    _extend_label()
    _extend_lease()
    _carry_over()
    with op.batch_alter_table("case") as case:
        case.alter_column("location", existing_type=sa.String, nullable=False)
        case.alter_column("patient_key", existing_type=sa.String(64), nullable=False)
        case.alter_column("seen_at", existing_type=MOMENT, nullable=False)
        case.drop_column("path")
    op.create_index("ix_case_status_number", "case", ["status", "number"])
    op.create_index("ix_case_study_uid", "case", ["study_uid"])
    op.create_index("ix_case_patient_key", "case", ["patient_key"])
    op.create_index("ix_case_cohort", "case", ["cohort"])
    op.create_index("ix_case_phenotype", "case", ["phenotype"])
    _partial("ix_case_offered_rank", "case", ["rank", "id"], "offered", "offered = 1")
    _partial("ix_case_offered_number", "case", ["number", "offered"], "offered", "offered = 1")
    _partial("ix_case_ineligible_number", "case", ["number"], "NOT eligible", "eligible = 0")
    _partial("ix_label_accepted", "label", ["case_id"], "kind = 'accepted'")
    _partial("ix_lease_live_holder", "lease", ["holder"], "ended_at IS NULL")
    _partial("ix_lease_live_expires_at", "lease", ["expires_at"], "ended_at IS NULL")
    op.create_index("ix_lease_case_id_holder", "lease", ["case_id", "holder"])
    _keep_append_only()


def _partial(name: str, table: str, columns: list[str], where: str, sqlite: str = "", *, unique: bool = False) -> None:
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=sa.text(sqlite or where), postgresql_where=sa.text(where)
    )


def _create_tables() -> None:
    op.create_table(
        "patient",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("assigned_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_patient"),
    )
    op.create_table(
        "tag",
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("tag", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "tag", name="pk_tag"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name="fk_tag_case_id_case"),
    )
    op.create_index("ix_tag_tag", "tag", ["tag"])
    op.create_table(
        "exclusion",
        sa.Column("source_key", sa.String, nullable=False),
        sa.Column("location", sa.String, nullable=False),
        sa.Column("series_uid", sa.String),
        sa.Column("study_uid", sa.String),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("slices", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("damaged", sa.Boolean, nullable=False),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("source_key", name="pk_exclusion"),
    )
    op.create_table(
        "draw",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("selection", sa.String, nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("model", sa.String),
        sa.Column("drawn_at", MOMENT, nullable=False),
        sa.Column("drawn_by", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_draw"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name="fk_draw_case_id_case"),
        sa.UniqueConstraint("selection", "case_id", name="uq_draw_selection"),
    )
    op.create_index("ix_draw_case_id", "draw", ["case_id"])
    op.create_index("ix_draw_strategy", "draw", ["strategy"])
    op.create_table(
        "skip",
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("skipped_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "holder", name="pk_skip"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name="fk_skip_case_id_case"),
    )
    op.create_table(
        "round",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("trigger", sa.String, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("champion", sa.String),
        sa.Column("candidate", sa.String),
        sa.Column("decision", sa.String),
        sa.Column("queued_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name="pk_round"),
    )
    _partial("uq_round_active", "round", ["active"], "active", "active = 1", unique=True)
    op.create_table(
        "round_label",
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("label_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("round_number", "label_id", name="pk_round_label"),
        sa.ForeignKeyConstraint(["round_number"], ["round.number"], name="fk_round_label_round_number_round"),
        sa.ForeignKeyConstraint(["label_id"], ["label.id"], name="fk_round_label_label_id_label"),
    )
    op.create_table(
        "model",
        sa.Column("version", sa.String, nullable=False),
        sa.Column("architecture", sa.String, nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("parent", sa.String),
        sa.Column("round_number", sa.Integer),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("published_at", MOMENT),
        sa.PrimaryKeyConstraint("version", name="pk_model"),
        sa.ForeignKeyConstraint(["parent"], ["model.version"], name="fk_model_parent_model"),
        sa.ForeignKeyConstraint(["round_number"], ["round.number"], name="fk_model_round_number_round"),
    )
    op.create_table(
        "user",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String),
        sa.Column("token_hash", sa.String),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("disabled_at", MOMENT),
        sa.PrimaryKeyConstraint("name", name="pk_user"),
        sa.UniqueConstraint("token_hash", name="uq_user_token_hash"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String(32)),
        sa.Column("label_id", sa.String(64)),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_case_id_id", "event", ["case_id", "id"])
    op.create_table(
        "tally",
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("eligible", sa.Boolean, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("status", "eligible", name="pk_tally"),
    )
    op.create_table(
        "fact",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_fact"),
    )


def _extend_case() -> None:
    with op.batch_alter_table("case") as case:
        case.add_column(sa.Column("location", sa.String))
        case.add_column(sa.Column("patient_key", sa.String(64)))
        case.add_column(sa.Column("cohort", sa.String, nullable=False, server_default=""))
        case.add_column(sa.Column("phenotype", sa.String))
        case.add_column(sa.Column("exclusion", sa.String))
        case.add_column(sa.Column("outnumbered", sa.String))
        case.add_column(sa.Column("overrule", sa.String))
        case.add_column(sa.Column("reopened", sa.Boolean, nullable=False, server_default=NO))
        case.add_column(sa.Column("eligible", sa.Boolean, nullable=False, server_default=sa.text("true")))
        case.add_column(sa.Column("offered", sa.Boolean, nullable=False, server_default=sa.text("true")))
        case.add_column(sa.Column("status", sa.String(16), nullable=False, server_default="open"))
        case.add_column(sa.Column("label_count", sa.Integer, nullable=False, server_default="0"))
        case.add_column(sa.Column("head_id", sa.String(64)))
        case.add_column(sa.Column("rank", sa.BigInteger))
        case.add_column(sa.Column("seen_at", MOMENT))
        case.create_foreign_key("fk_case_patient_key_patient", "patient", ["patient_key"], ["key"])


def _extend_label() -> None:
    with op.batch_alter_table("label") as label:
        label.add_column(sa.Column("made_as", sa.String(16), nullable=False, server_default="submitted"))
        label.add_column(sa.Column("conflict", sa.Boolean, nullable=False, server_default=NO))
        label.add_column(sa.Column("seconds", sa.Double))
        label.add_column(sa.Column("edited_ml", sa.Double))
        label.add_column(sa.Column("target", sa.String(16), nullable=False, server_default="lungs"))
        label.add_column(sa.Column("findings", sa.JSON))


def _extend_lease() -> None:
    with op.batch_alter_table("lease") as lease:
        lease.add_column(sa.Column("base_id", sa.String(64)))
        lease.add_column(sa.Column("heartbeat_at", MOMENT))
        lease.create_foreign_key("fk_lease_base_id_label", "label", ["base_id"], ["id"])
    lease_table = sa.table("lease", sa.column("heartbeat_at"), sa.column("granted_at"))
    op.get_bind().execute(lease_table.update().values(heartbeat_at=lease_table.c.granted_at))
    with op.batch_alter_table("lease") as lease:
        lease.alter_column("heartbeat_at", existing_type=MOMENT, nullable=False)


def _carry_over() -> None:
    """Seal where cases lie, give each study a patient of its own until ingest tells, and count.

    The lineage of 0001 had no reviews: the newest submitted mask of a case is its head, older ones are superseded.
    """
    connection = op.get_bind()
    secret, ratios = context.config.attributes["secret"], context.config.attributes["ratios"]
    case = sa.Table("case", sa.MetaData(), autoload_with=connection)
    label = sa.Table("label", sa.MetaData(), autoload_with=connection)
    patient = sa.Table("patient", sa.MetaData(), autoload_with=connection)
    tally = sa.Table("tally", sa.MetaData(), autoload_with=connection)
    connection.execute(label.update().values(made_as=label.c.kind))
    counts: dict[str, int] = {}
    patients: set[str] = set()
    for row in connection.execute(sa.select(case).order_by(case.c.number)).mappings().all():
        source = Source(Path(row["path"]), row["series_uid"])
        patient_key = study_key(row["study_uid"] or secret.source_key(source))
        if patient_key not in patients:
            patients.add(patient_key)
            split = str(ratios.split_of(secret, patient_key))
            connection.execute(patient.insert().values(key=patient_key, split=split, assigned_at=datetime.now(UTC)))
        labels = connection.execute(
            sa.select(label.c.id, label.c.kind).where(label.c.case_id == row["id"]).order_by(label.c.number)
        ).all()
        submitted = [item.id for item in labels if item.kind in HUMAN]
        for older in submitted[:-1]:
            connection.execute(label.update().where(label.c.id == older).values(kind="superseded"))
        status = "submitted" if submitted else "preliminary" if labels else "open"
        counts[status] = counts.get(status, 0) + 1
        values: dict[str, Any] = {
            "location": secret.seal(source),
            "seen_at": row["added_at"],
            "source_key": secret.source_key(source),
            "patient_key": patient_key,
            "status": status,
            "offered": not submitted,
            "label_count": len(labels),
            "head_id": submitted[-1] if submitted else None,
        }
        connection.execute(case.update().where(case.c.number == row["number"]).values(**values))
    for status, count in counts.items():
        connection.execute(tally.insert().values(status=status, eligible=True, count=count))


def _keep_append_only() -> None:
    """Let the database itself refuse to change or delete what must stay."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION lungapp_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
    for table, forbidden in APPEND_ONLY.items():
        for number, action in enumerate(forbidden):
            name = f"{table}_append_only_{number}"
            if bind.dialect.name == "postgresql":
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {action} ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION lungapp_append_only()"
                )
            else:
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
