"""All tables.

A revision says the shape in its own words and never imports `tables`: that goes on changing, this must not.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TYPES: dict[str, Any] = {
    "text": sa.Text(),
    "big": sa.BigInteger(),
    "int": sa.Integer(),
    "flag": sa.Boolean(),
    "real": sa.Double(),
}

# Per kind of record: the columns read off it, and which of those it is found by (? leaves empty ones out).
RECORDS = {
    "tenant": ("name:text", "name"),
    "key": ("person:text scope:text revoked:flag", "person? scope revoked"),
    "episode": (
        "user:text started_at:big product:text state:text purpose:text segment:text task_type:text",
        "user? started_at product? state purpose",
    ),
    "turn": (
        "episode:text sibling_of:text release:text at:big policy:text agent:text purpose:text "
        "arm:text unit:text probability:real latency:real",
        "episode sibling_of? release? at policy agent purpose",
    ),
    "feedback": (
        "turn:text item:text episode:text by:text at:big queue:text policy:text source:text form:text "
        "mark:real quality:real pick:text alone:text",
        "turn? item? episode? by? queue? policy? source form alone?",
    ),
    "queue": ("name:text", "name"),
    "item": ("queue:text state:text gold:flag gold_chosen:text gold_category:text", "queue state gold"),
    "assignment": ("item:text rater:text until:big queue:text state:text", "item rater until queue state"),
    "verdict": ("item:text queue:text objective:text", "item queue objective"),
    "dataset": ("digest:text parent:text name:text", "digest parent? name"),
    "reward_model": ("run:text dataset:text version:int standing:text", "run? dataset version standing"),
    "policy": ("run:text agent:text version:int standing:text", "run? agent version standing"),
    "run": ("task:text state:text", "task state"),
    "cycle": ("agent:text stage:text", "agent stage"),
    "release": ("policy:text agent:text stage:text", "policy agent stage"),
    "alert": ("incident:text at:big name:text", "incident? at name"),
    "incident": ("state:text", "state"),
}

# What is read from the index alone.
CARRIED = {("turn", "release"): "id episode unit arm probability at latency purpose"}

TOGETHER = {
    "ix_feedback_at_source": ("feedback", "tenant at source"),
    "ix_feedback_queue_by": ("feedback", "tenant queue by"),
    "ix_item_queue_state": ("item", "tenant queue state seq"),
    "ix_item_queue_gold": ("item", "tenant queue gold"),
    "ix_assignment_queue_state_until": ("assignment", "tenant queue state until"),
    "ix_policy_agent_version": ("policy", "tenant agent version"),
    "ix_key_id": ("key", "id"),
}


def upgrade() -> None:
    for kind, (columns, found_by) in RECORDS.items():
        _records(kind, columns.split(), found_by.split())
    for index, (table, names) in TOGETHER.items():
        op.create_index(index, table, names.split())
    _links()
    _around()


def _records(kind: str, columns: list[str], found_by: list[str]) -> None:
    op.create_table(
        kind,
        sa.Column("seq", BIG, primary_key=True, autoincrement=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sent", sa.Text, nullable=False),
        *(sa.Column(name, TYPES[type]) for name, type in (column.split(":") for column in columns)),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("tenant", "id", name=f"uq_{kind}_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(f"ix_{kind}", kind, ["tenant", "seq"])
    for name in found_by:
        column = name.rstrip("?")
        kept = sa.column(column).is_not(None) if name.endswith("?") else None
        names = ["tenant", column, "seq", *CARRIED.get((kind, column), "").split()]
        op.create_index(f"ix_{kind}_{column}", kind, names, sqlite_where=kept, postgresql_where=kept)


def _links() -> None:
    op.create_table(
        "link",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("made_kind", sa.Text, primary_key=True),
        sa.Column("made_id", sa.Text, primary_key=True),
        sa.Column("source_kind", sa.Text, primary_key=True),
        sa.Column("source_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_link_back", "link", ["tenant", "source_kind", "source_id", "made_kind", "made_id"])


def _around() -> None:
    op.create_table(
        "effect",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("once", sa.Text, primary_key=True),
        sa.Column("added", sa.Text, nullable=False),
    )
    op.create_table(
        "tally",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("records", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_entry",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_audit_entry_tenant", "audit_entry", ["tenant", "index"])
    frontier = op.create_table(
        "audit_frontier",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("frontier", sa.Text, nullable=False),
    )
    op.bulk_insert(frontier, [{"one": 1, "frontier": '{"size": 0, "peaks": []}'}])
