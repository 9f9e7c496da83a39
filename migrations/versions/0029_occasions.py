"""Why a training was made, what came of it, and that what called for it calls once."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

TEXTS = ("reason", "why", "occasion", "asked_by", "bundle")


def upgrade() -> None:
    for name in TEXTS:
        op.add_column("job_run", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("job_run", sa.Column("labels_needed", sa.BigInteger(), nullable=True))
    op.create_index("uq_job_run_occasion", "job_run", ["job", "cascade", "occasion"], unique=True)
    op.create_index("ix_job_run_bundle", "job_run", ["bundle"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_job_run_bundle", table_name="job_run")
    op.drop_index("uq_job_run_occasion", table_name="job_run")
    op.drop_column("job_run", "labels_needed")
    for name in reversed(TEXTS):
        op.drop_column("job_run", name)
