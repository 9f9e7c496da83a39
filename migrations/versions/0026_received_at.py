"""Which decisions have arrived since a time, found without reading all that were made before it."""

from alembic import op

revision = "0026"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_decision_cascade_received_at", "decision", ["cascade", "received_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_decision_cascade_received_at", table_name="decision")
