"""Bundles whose thresholds would keep the promise and save nothing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0028"
down_revision = "0026"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEFORE = "status in ('candidate', 'certified', 'infeasible', 'insufficient_evidence', 'promoted', 'refused', 'retired')"
NOW = (
    "status in ('candidate', 'certified', 'infeasible', 'insufficient_evidence', 'saves_nothing', 'promoted', "
    "'refused', 'retired')"
)


def upgrade() -> None:
    _statuses(BEFORE, NOW)


def downgrade() -> None:
    op.execute("UPDATE bundle SET status = 'infeasible' WHERE status = 'saves_nothing'")
    _statuses(NOW, BEFORE)


def _statuses(old: str, new: str) -> None:
    """One CHECK for another. SQLite does not tell a CHECK's name, so the table as it is gets
    written down for it.
    """
    with op.batch_alter_table("bundle", copy_from=_bundle(old)) as table:
        table.drop_constraint(op.f("ck_bundle_status"), type_="check")
        table.create_check_constraint(op.f("ck_bundle_status"), new)


def _bundle(statuses: str) -> sa.Table:
    return sa.Table(
        "bundle",
        sa.MetaData(),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(statuses, name="ck_bundle_status"),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name="fk_bundle_cascade_cascade"),
        sa.PrimaryKeyConstraint("id", name="pk_bundle"),
        sa.Index("ix_bundle_cascade_created_at", "cascade", "created_at"),
    )
