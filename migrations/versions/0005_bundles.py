"""Bundles, and the attempts at certifying them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bundle",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status in ('candidate', 'certified', 'infeasible', 'insufficient_evidence', 'promoted', 'refused', "
            "'retired')",
            name=op.f("ck_bundle_status"),
        ),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_bundle_cascade_cascade")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle")),
    )
    op.create_index("ix_bundle_cascade_created_at", "bundle", ["cascade", "created_at"], unique=False)
    op.create_table(
        "certification",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target_value", sa.Double(), nullable=False),
        sa.Column("delta_family", sa.Double(), nullable=False),
        sa.Column("delta_spent", sa.Double(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("document", JSON, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.id"], name=op.f("fk_certification_bundle_bundle")),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_certification_cascade_cascade")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certification")),
        sa.UniqueConstraint("cascade", "attempt", name=op.f("uq_certification_cascade_attempt")),
    )


def downgrade() -> None:
    op.drop_table("certification")
    op.drop_table("bundle")
