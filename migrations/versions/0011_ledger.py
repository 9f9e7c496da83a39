"""The ledger: salted leaves, sealed in chained batches."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_leaf",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_leaf")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_ledger_leaf_batch", "ledger_leaf", ["batch"], unique=False)
    op.create_index("ix_ledger_leaf_subject", "ledger_leaf", ["subject"], unique=False)
    op.create_index(
        "ix_ledger_leaf_unsealed",
        "ledger_leaf",
        ["id"],
        unique=False,
        postgresql_where=sa.text("batch IS NULL"),
        sqlite_where=sa.text("batch IS NULL"),
    )
    op.create_table(
        "ledger_batch",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("leaves", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_ledger_batch")),
        sa.UniqueConstraint("previous", name=op.f("uq_ledger_batch_previous")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE ledger_leaf_default PARTITION OF ledger_leaf DEFAULT")


def downgrade() -> None:
    op.drop_table("ledger_batch")
    op.drop_table("ledger_leaf")
