"""How much likelier the chosen option was than the next one."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("margin", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "margin")
