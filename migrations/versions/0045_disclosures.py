"""What was shown to whom, and with which settings services started."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "disclosure",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("by", "act", "what")),
        sa.CheckConstraint("act in ('explained', 'proven', 'exported', 'backed_up')", name=op.f("ck_disclosure_act")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosure")),
    )
    op.create_index("ix_disclosure_at", "disclosure", ["at"])
    op.create_table(
        "service_start",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("by", "service", "settings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_start")),
    )


def downgrade() -> None:
    op.drop_table("service_start")
    op.drop_table("disclosure")
