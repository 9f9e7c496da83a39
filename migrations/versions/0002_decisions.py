"""Decisions and attempts, by month of their UUIDv7 on PostgreSQL from the first day on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "fingerprint",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_fingerprint")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("slice", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("prompt_hash", sa.Text(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("exploration_rate", sa.Double(), nullable=False),
        sa.Column("served_tier", sa.BigInteger(), nullable=False),
        sa.Column("spec_version", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_decision_cascade_cascade")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_decision_cascade_external_id", "decision", ["cascade", "external_id"], unique=False)
    op.create_index("ix_decision_cascade_id", "decision", ["cascade", "id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("p_t", sa.Double(), nullable=True),
        sa.Column("p_ik", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("ood", sa.Double(), nullable=True),
        sa.Column("entropy", sa.Double(), nullable=True),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fallback", sa.Boolean(), nullable=True),
        sa.Column("gates", JSON, nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("run_propensity", sa.Double(), nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), nullable=True),
        sa.Column("tokens_out", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("gflops", sa.Double(), nullable=True),
        sa.CheckConstraint("role in ('served', 'superseded', 'exploration')", name=op.f("ck_attempt_role")),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_attempt_decision_id_decision")),
        sa.ForeignKeyConstraint(
            ["fingerprint"], ["fingerprint.sha256"], name=op.f("fk_attempt_fingerprint_fingerprint")
        ),
        sa.PrimaryKeyConstraint("decision_id", "tier", name=op.f("pk_attempt")),
        postgresql_partition_by="RANGE (decision_id)",
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE decision_default PARTITION OF decision DEFAULT")
        op.execute("CREATE TABLE attempt_default PARTITION OF attempt DEFAULT")


def downgrade() -> None:
    op.drop_table("attempt")
    op.drop_table("decision")
    op.drop_table("fingerprint")
