"""The caller's trace of decisions, the spans of attempts in logs, and where labels came from."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

COLUMNS = (
    ("decision", "trace_id"),
    ("decision", "span_id"),
    ("attempt", "span_id"),
    ("label", "origin"),
    ("waiting_label", "origin"),
)
INDEXES = (
    ("ix_decision_cascade_trace_id", "decision", ["cascade", "trace_id"]),
    ("ix_decision_cascade_span_id", "decision", ["cascade", "span_id"]),
    ("ix_attempt_span_id", "attempt", ["span_id"]),
)


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))
    for name, table, columns in INDEXES:
        known = sa.text(f"{columns[-1]} IS NOT NULL")
        op.create_index(op.f(name), table, columns, postgresql_where=known, sqlite_where=known)


def downgrade() -> None:
    for name, table, _ in INDEXES:
        op.drop_index(op.f(name), table_name=table)
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column)
