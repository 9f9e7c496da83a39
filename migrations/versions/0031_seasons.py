"""What the seasons of a cascade have counted, attempt by attempt.

Certificates of before stay as they are: each rests on the share of δ that its attempt spent, and
they hold together. The first attempt under the promise of a season begins season 1.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "season",
        sa.Column("cascade", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counted_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.id"], name=op.f("fk_season_bundle_bundle")),
        sa.ForeignKeyConstraint(["cascade"], ["cascade.name"], name=op.f("fk_season_cascade_cascade")),
        sa.PrimaryKeyConstraint("cascade", "attempt", name=op.f("pk_season")),
    )


def downgrade() -> None:
    op.drop_table("season")
