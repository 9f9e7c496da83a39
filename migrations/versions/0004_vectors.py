"""Where hidden states lie."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vector_shard",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("dimension", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_vector_shard_cascade_cascade")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vector_shard")),
        sa.UniqueConstraint("url", name=op.f("uq_vector_shard_url")),
    )
    op.create_table(
        "vector_row",
        sa.Column("decision_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.Uuid(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shard"], ["vector_shard.id"], name=op.f("fk_vector_row_shard_vector_shard")),
        sa.PrimaryKeyConstraint("decision_id", "tier", name=op.f("pk_vector_row")),
        postgresql_partition_by="RANGE (decision_id)",
    )
    op.create_index(op.f("ix_vector_row_shard"), "vector_row", ["shard"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE vector_row_default PARTITION OF vector_row DEFAULT")


def downgrade() -> None:
    op.drop_table("vector_row")
    op.drop_table("vector_shard")
