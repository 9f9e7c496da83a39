"""Days that are written as Parquet files beside the shards."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "day_file",
        sa.Column("cascade", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("low", "high")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("url", "sha256")),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("bytes", "schema_version", "decisions", "attempts", "labels", "erased")
        ),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=True) for name in ("changed_at", "left_at")),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_day_file_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "low", name=op.f("pk_day_file")),
        sa.UniqueConstraint("url", name=op.f("uq_day_file_url")),
    )


def downgrade() -> None:
    op.drop_table("day_file")
