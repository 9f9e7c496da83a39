"""What people ask of a cascade: that no job changes it until a time, or a training now."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cascade_act",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("act in ('frozen', 'unfrozen', 'asked', 'insisted')", name=op.f("ck_cascade_act_act")),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_cascade_act_cascade_cascade")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cascade_act")),
    )
    op.create_index("ix_cascade_act_cascade_at", "cascade_act", ["cascade", "at"])


def downgrade() -> None:
    op.drop_table("cascade_act")
