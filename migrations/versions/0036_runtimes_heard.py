"""What runtimes say of themselves, and when they were last heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

COLUMNS: tuple[tuple[str, sa.types.TypeEngine[object]], ...] = (
    ("version", sa.Text()),
    ("heard_at", sa.DateTime(timezone=True)),
    ("again_s", sa.Double()),
    ("unshipped_bytes", sa.BigInteger()),
    ("refused_rows", sa.BigInteger()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("acknowledgement", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name, _ in reversed(COLUMNS):
        op.drop_column("acknowledgement", name)
