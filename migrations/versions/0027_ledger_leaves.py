"""Leaves that say which row and which of its states they speak of.

Leaves from before keep their hashes: they are of version 1. What the rows of the other tables were
at the upgrade is stated once the schema is up to date (`store.schema.upgrade`).
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0018"
branch_labels = None
depends_on = None

_INDEX = "ix_ledger_leaf_subject"


def upgrade() -> None:
    # Every leaf that is there is of version 1 and the only one of its row; leaves to come say so
    # themselves.
    op.add_column("ledger_leaf", sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("ledger_leaf", sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("ledger_leaf", sa.Column("content", sa.Text(), nullable=True))
    op.drop_index(_INDEX, table_name="ledger_leaf")
    op.create_index(_INDEX, "ledger_leaf", ["subject", "kind", "revision"], unique=False)


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="ledger_leaf")
    op.create_index(_INDEX, "ledger_leaf", ["subject"], unique=False)
    for column in ("content", "revision", "version"):
        op.drop_column("ledger_leaf", column)
