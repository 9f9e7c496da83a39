"""Rollouts in steps, and falling back after a ring: the outcomes `shadowed`, `shared`, `aborted`
and `fell_back`.

No assignment is touched: it has had a challenger and its share from the first revision on.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEFORE = "outcome in ('promoted', 'refused', 'held_back', 'rolled_back', 'stopped', 'resumed', 'observed')"
NOW = f"{BEFORE.removesuffix(')')}, 'shadowed', 'shared', 'aborted', 'fell_back')"


def upgrade() -> None:
    _outcomes(BEFORE, NOW)


def downgrade() -> None:
    # The version before knows what waits, what was refused and what came into force.
    op.execute("UPDATE promotion SET outcome = 'held_back' WHERE outcome IN ('shadowed', 'shared')")
    op.execute("UPDATE promotion SET outcome = 'refused' WHERE outcome = 'aborted'")
    op.execute("UPDATE promotion SET outcome = 'promoted' WHERE outcome = 'fell_back'")
    _outcomes(NOW, BEFORE)


def _outcomes(old: str, new: str) -> None:
    """One CHECK for another. SQLite does not tell a CHECK's name, so the table as it is gets
    written down for it.
    """
    with op.batch_alter_table("promotion", copy_from=_promotion(old)) as table:
        table.drop_constraint(op.f("ck_promotion_outcome"), type_="check")
        table.create_check_constraint(op.f("ck_promotion_outcome"), new)


def _promotion(outcomes: str) -> sa.Table:
    return sa.Table(
        "promotion",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("promotion_check", JSON, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.CheckConstraint(outcomes, name="ck_promotion_outcome"),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.id"], name="fk_promotion_bundle_bundle"),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name="fk_promotion_cascade_cascade"),
        sa.ForeignKeyConstraint(["previous"], ["bundle.id"], name="fk_promotion_previous_bundle"),
        sa.PrimaryKeyConstraint("id", name="pk_promotion"),
        sa.Index("ix_promotion_cascade_decided_at", "cascade", "decided_at"),
    )
