"""Which probability an attempt's P(T) was.

Rows from before say nothing, and no row is touched: the ledger's leaves are over what was said
then. Their kind is the one that the cascade declared in the version that their decision names.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("p_t_kind", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "p_t_kind")
