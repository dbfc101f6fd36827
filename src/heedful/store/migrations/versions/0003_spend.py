"""What a key's turns cost, so that a budget can stop it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turn", sa.Column("key", sa.Text))
    op.add_column("turn", sa.Column("spend", sa.Double))
    kept = sa.column("key").is_not(None)
    op.create_index(
        "ix_turn_key",
        "turn",
        ["tenant", "key", "seq", "at", "spend"],
        sqlite_where=kept,
        postgresql_where=kept,
    )
