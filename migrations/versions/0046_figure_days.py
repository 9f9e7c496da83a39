"""Figures summed by day, so that a page of a year reads days and not hours."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

TIMES = ("window_start", "window_end")
COUNTS = ("known", "bounded", "n")
SUMS = ("total", "weighted", "below", "above", "weighted_below", "weighted_above")


def upgrade() -> None:
    op.create_table(
        "figure_day",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("cascade", "slice")),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mature", sa.Boolean(), nullable=False),
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in TIMES),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.Double(), nullable=False) for name in SUMS),
        sa.Column("not_identified", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_figure_day_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "slice", "tier", "name", "mature", "day", name=op.f("pk_figure_day")),
    )
    op.create_index(op.f("ix_figure_day_cascade_day"), "figure_day", ["cascade", "day"])
    op.create_table(
        "summed_day",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("summed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_summed_day_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "day", name=op.f("pk_summed_day")),
    )


def downgrade() -> None:
    op.drop_table("summed_day")
    op.drop_table("figure_day")
