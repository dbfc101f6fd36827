"""Feedback that waits for its target, dead letters, and what supersedes what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("feedback", sa.Column("slot", sa.Text))
    kept = sa.column("slot").is_not(None)
    op.create_index(
        "ix_feedback_slot", "feedback", ["tenant", "slot", "seq"], sqlite_where=kept, postgresql_where=kept
    )
    # Nobody asked by the first three alone, and the fourth was full of feedback that was never in a queue.
    for name in ("ix_feedback_policy", "ix_feedback_source", "ix_feedback_by", "ix_feedback_queue_by"):
        op.drop_index(name, "feedback")
    queued = sa.column("queue").is_not(None)
    op.create_index(
        "ix_feedback_queue_by",
        "feedback",
        ["tenant", "queue", "by"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
    _records("parked", sa.Column("waits", sa.Text), sa.Column("since", sa.BigInteger), by="waits")
    _records("dead_letter", sa.Column("origin", sa.Text), sa.Column("last_seen", sa.BigInteger), by="origin")


def _records(kind: str, *columns: sa.Column[object], by: str) -> None:
    op.create_table(
        kind,
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sent", sa.Text, nullable=False),
        *columns,
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("tenant", "id", name=f"uq_{kind}_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{kind}", kind, ["tenant", "seq"])
    op.create_index(f"ix_{kind}_{by}", kind, ["tenant", by, "seq"])
