"""Attempts that a gate ended before an answer: the role `skipped`."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEFORE = "role in ('served', 'superseded', 'exploration')"
NOW = "role in ('served', 'superseded', 'exploration', 'skipped')"


def upgrade() -> None:
    _roles(BEFORE, NOW)


def downgrade() -> None:
    op.execute("UPDATE attempt SET role = 'superseded' WHERE role = 'skipped'")
    _roles(NOW, BEFORE)


def _roles(old: str, new: str) -> None:
    """One CHECK for another. SQLite does not tell a CHECK's name, so the table as it is gets
    written down for it.
    """
    with op.batch_alter_table("attempt", copy_from=_attempt(old)) as table:
        table.drop_constraint(op.f("ck_attempt_role"), type_="check")
        table.create_check_constraint(op.f("ck_attempt_role"), new)


def _attempt(roles: str) -> sa.Table:
    numbers = ("p_t", "p_ik", "score", "ood", "entropy", "run_propensity", "latency_ms", "cost_usd", "gflops", "margin")
    texts = ("action", "reason", "fault", "fingerprint", "answer", "note", "p_t_kind")
    return sa.Table(
        "attempt",
        sa.MetaData(),
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fallback", sa.Boolean(), nullable=True),
        sa.Column("gates", JSON, nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), nullable=True),
        sa.Column("tokens_out", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.Double(), nullable=True) for name in numbers),
        *(sa.Column(name, sa.Text(), nullable=True) for name in texts),
        sa.CheckConstraint(roles, name="ck_attempt_role"),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name="fk_attempt_decision_id_decision"),
        sa.ForeignKeyConstraint(["fingerprint"], ["fingerprint.sha256"], name="fk_attempt_fingerprint_fingerprint"),
        sa.PrimaryKeyConstraint("decision_id", "tier", name="pk_attempt"),
    )
