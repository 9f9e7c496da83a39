"""Moves that put a cascade back to be observed: the outcome `observed`.

No assignment is touched: what is in force, and what is stopped, stays so.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEFORE = "outcome in ('promoted', 'refused', 'held_back', 'rolled_back', 'stopped', 'resumed')"
NOW = "outcome in ('promoted', 'refused', 'held_back', 'rolled_back', 'stopped', 'resumed', 'observed')"


def upgrade() -> None:
    _outcomes(BEFORE, NOW)


def downgrade() -> None:
    op.execute("UPDATE promotion SET outcome = 'stopped' WHERE outcome = 'observed'")
    _stop_what_is_observed()
    _outcomes(NOW, BEFORE)


def _stop_what_is_observed() -> None:
    """The version before knows no such mode; a stopped cascade keeps nothing either."""
    connection = op.get_bind()
    for name in ("assignment", "assignment_history"):
        table = sa.table(
            name, sa.column("cascade", sa.Text()), sa.column("generation", sa.BigInteger()), sa.column("document", JSON)
        )
        for row in connection.execute(sa.select(table)).all():
            if row.document["mode"] == "observe":
                # Without a champion, as in the beginning, `active` keeps nothing either.
                mode = "active" if row.document["champion"] is None else "escalate_all"
                same = (table.c.cascade == row.cascade) & (table.c.generation == row.generation)
                connection.execute(sa.update(table).where(same).values(document=row.document | {"mode": mode}))


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
