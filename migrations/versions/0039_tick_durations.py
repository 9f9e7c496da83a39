"""How long a job's last tick took."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_tick", sa.Column("took_s", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("job_tick", "took_s")
