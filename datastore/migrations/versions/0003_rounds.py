"""Rounds that a worker runs: snapshot, progress, attempts, cancel, refresh; at most one waits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WAITING = sa.text("state = 'queued'")


def upgrade() -> None:
    """Add what a worker notes; of several rounds that wait the newest stays, as it would train on the most."""
    op.add_column("round", sa.Column("snapshot_at", MOMENT))
    op.add_column("round", sa.Column("progress", sa.JSON, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("round", sa.Column("progressed_at", MOMENT))
    op.add_column("round", sa.Column("attempts", sa.Integer, nullable=False, server_default="0"))
    op.add_column("round", sa.Column("cancel_by", sa.String))
    op.add_column("round", sa.Column("refreshed_at", MOMENT))
    op.execute("UPDATE round SET snapshot_at = queued_at WHERE number IN (SELECT round_number FROM round_label)")
    op.execute(
        "UPDATE round SET state = 'cancelled', ended_at = queued_at WHERE state = 'queued' "
        "AND number < (SELECT max(number) FROM round WHERE state = 'queued')"
    )
    op.create_index("uq_round_waiting", "round", ["state"], unique=True, sqlite_where=WAITING, postgresql_where=WAITING)
