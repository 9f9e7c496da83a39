"""Rings of alerts, each an event of its own; who moved what is in force, and that something was
stopped or held back.

No row of before is touched. A risk alert that is open, and after which nothing was put in force,
has a ring that nobody has acted on yet.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0020"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BEFORE = "outcome in ('promoted', 'refused', 'rolled_back')"
NOW = "outcome in ('promoted', 'refused', 'held_back', 'rolled_back', 'stopped', 'resumed')"
UNANSWERED = """
INSERT INTO ring (alert_id, number, cause, details, rang_at, accused, champion, generation)
SELECT alert.id, 1, alert.cause, alert.details, alert.opened_at, '[]', NULL, assignment.generation
FROM alert JOIN assignment ON assignment.cascade = alert.cascade
WHERE alert.rule = 'risk' AND alert.resolved_at IS NULL AND assignment.swapped_at <= alert.opened_at
"""


def upgrade() -> None:
    op.create_table(
        "ring",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("rang_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("champion", sa.Text(), nullable=True),
        sa.Column("accused", JSON, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_ring_alert_id_alert")),
        sa.PrimaryKeyConstraint("alert_id", "number", name=op.f("pk_ring")),
    )
    op.execute(UNANSWERED)
    _outcomes(BEFORE, NOW)
    op.add_column("promotion", sa.Column("decided_by", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("promotion", "decided_by")
    op.execute("UPDATE promotion SET outcome = 'rolled_back' WHERE outcome = 'stopped'")
    op.execute("UPDATE promotion SET outcome = 'promoted' WHERE outcome = 'resumed'")
    op.execute("UPDATE promotion SET outcome = 'refused' WHERE outcome = 'held_back'")
    _outcomes(NOW, BEFORE)
    op.drop_table("ring")


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
        sa.CheckConstraint(outcomes, name="ck_promotion_outcome"),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.id"], name="fk_promotion_bundle_bundle"),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name="fk_promotion_cascade_cascade"),
        sa.ForeignKeyConstraint(["previous"], ["bundle.id"], name="fk_promotion_previous_bundle"),
        sa.PrimaryKeyConstraint("id", name="pk_promotion"),
        sa.Index("ix_promotion_cascade_decided_at", "cascade", "decided_at"),
    )
