"""Cascades and all their versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "cascade",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cascade")),
    )
    op.create_table(
        "cascade_version",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_cascade_version_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "version", name=op.f("pk_cascade_version")),
    )


def downgrade() -> None:
    op.drop_table("cascade_version")
    op.drop_table("cascade")
