"""Promotions, the assignment in force and its history, acknowledgements of runtimes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "promotion",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("promotion_check", JSON, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("outcome in ('promoted', 'refused', 'rolled_back')", name=op.f("ck_promotion_outcome")),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.id"], name=op.f("fk_promotion_bundle_bundle")),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_promotion_cascade_cascade")),
        sa.ForeignKeyConstraint(["previous"], ["bundle.id"], name=op.f("fk_promotion_previous_bundle")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_index("ix_promotion_cascade_decided_at", "promotion", ["cascade", "decided_at"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("swapped_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_assignment_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", name=op.f("pk_assignment")),
    )
    op.create_table(
        "assignment_history",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("swapped_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_assignment_history_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "generation", name=op.f("pk_assignment_history")),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_acknowledgement_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "runtime", name=op.f("pk_acknowledgement")),
    )


def downgrade() -> None:
    op.drop_table("acknowledgement")
    op.drop_table("assignment_history")
    op.drop_table("assignment")
    op.drop_table("promotion")
