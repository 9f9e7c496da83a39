"""Which grader in which version made a label, how often it errs, and why a label is parked."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grader",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_grader_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "name", name=op.f("pk_grader")),
    )
    op.create_table(
        "grader_error",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("grader", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("wrong_called_right", sa.BigInteger(), nullable=False),
        sa.Column("right", sa.BigInteger(), nullable=False),
        sa.Column("right_called_wrong", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            'wrong_called_right <= wrong and right_called_wrong <= "right"', name=op.f("ck_grader_error_counts")
        ),
        sa.ForeignKeyConstraint(
            ["cascade", "grader"], ["grader.cascade", "grader.name"], name=op.f("fk_grader_error_cascade_grader_grader")
        ),
        sa.PrimaryKeyConstraint("cascade", "grader", "measured_at", name=op.f("pk_grader_error")),
    )
    op.add_column("label", sa.Column("grader", sa.Text(), nullable=True))
    op.add_column("waiting_label", sa.Column("grader", sa.Text(), nullable=True))
    op.add_column("waiting_label", sa.Column("parked", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("waiting_label", "parked")
    op.drop_column("waiting_label", "grader")
    op.drop_column("label", "grader")
    op.drop_table("grader_error")
    op.drop_table("grader")
