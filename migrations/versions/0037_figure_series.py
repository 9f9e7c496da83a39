"""An index of figures by what they are of, so that a chart reads its own rows alone."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

COLUMNS = ["cascade", "slice", "tier", "name", "mature", "window_start"]


def upgrade() -> None:
    op.create_index(op.f("ix_cohort_figure_series"), "cohort_figure", COLUMNS)


def downgrade() -> None:
    op.drop_index(op.f("ix_cohort_figure_series"), table_name="cohort_figure")
