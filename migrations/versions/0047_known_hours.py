"""Labelled decisions counted by hour, and labels by when they came."""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_label_arrival"), "label", ["arrival"])
    op.create_table(
        "known_hour",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("known", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_known_hour_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "question", "hour", name=op.f("pk_known_hour")),
    )
    op.create_table(
        "known_count",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("read_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_known_count_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "question", name=op.f("pk_known_count")),
    )


def downgrade() -> None:
    op.drop_table("known_count")
    op.drop_table("known_hour")
    op.drop_index(op.f("ix_label_arrival"), table_name="label")
