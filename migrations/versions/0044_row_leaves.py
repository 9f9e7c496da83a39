"""Leaves that speak of all the rows of a batch: beside the payload stand the rows' salts, content
hashes and names. Leaves from before keep what they say.
"""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger_leaf", sa.Column("rows", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger_leaf", "rows")
