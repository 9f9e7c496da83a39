"""Figures of cohorts, drift reports, the state of alarms."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "cohort_figure",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("mature", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("not_identified", sa.Text(), nullable=True),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_cohort_figure_cascade_cascade")),
        sa.PrimaryKeyConstraint(
            "cascade", "name", "window_start", "window_end", "tier", "slice", "mature", name=op.f("pk_cohort_figure")
        ),
    )
    op.create_table(
        "drift_report",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tier", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_drift_report_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "name", "window_start", "window_end", "tier", name=op.f("pk_drift_report")),
    )
    op.create_table(
        "alarm_state",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_alarm_state_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "rule", name=op.f("pk_alarm_state")),
    )


def downgrade() -> None:
    op.drop_table("alarm_state")
    op.drop_table("drift_report")
    op.drop_table("cohort_figure")
