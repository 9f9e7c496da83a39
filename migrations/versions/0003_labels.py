"""Labels, and those that wait for their decision."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "label",
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("arrival", sa.Uuid(), nullable=False),
        sa.Column("correct", sa.Double(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label_propensity", sa.Double(), nullable=True),
        sa.CheckConstraint("source in ('gold', 'human', 'judge', 'feedback')", name=op.f("ck_label_source")),
        sa.CheckConstraint("correct >= 0 and correct <= 1", name=op.f("ck_label_correct")),
        sa.ForeignKeyConstraint(
            ["decision_id", "tier"],
            ["attempt.decision_id", "attempt.tier"],
            name=op.f("fk_label_decision_id_tier_attempt"),
        ),
        sa.PrimaryKeyConstraint("decision_id", "tier", "source", "digest", name=op.f("pk_label")),
        postgresql_partition_by="RANGE (decision_id)",
    )
    op.create_table(
        "waiting_label",
        sa.Column("arrival", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("tier", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("correct", sa.Double(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label_propensity", sa.Double(), nullable=True),
        sa.CheckConstraint("source in ('gold', 'human', 'judge', 'feedback')", name=op.f("ck_waiting_label_source")),
        sa.CheckConstraint("(decision_id is null) <> (external_id is null)", name=op.f("ck_waiting_label_named")),
        sa.PrimaryKeyConstraint("arrival", name=op.f("pk_waiting_label")),
        sa.UniqueConstraint("digest", name=op.f("uq_waiting_label_digest")),
    )
    op.create_index("ix_waiting_label_cascade_external_id", "waiting_label", ["cascade", "external_id"], unique=False)
    op.create_index("ix_waiting_label_decision_id", "waiting_label", ["decision_id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE label_default PARTITION OF label DEFAULT")


def downgrade() -> None:
    op.drop_table("waiting_label")
    op.drop_table("label")
