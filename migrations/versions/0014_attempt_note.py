"""What the runtime had to say about an attempt: which values were dropped, what a back-end did."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "note")
