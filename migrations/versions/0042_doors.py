"""How far a token reaches and how long, who made and revoked it; and sign-ins apart from tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

COLUMNS: tuple[tuple[str, sa.types.TypeEngine[object]], ...] = (
    ("cascades", sa.Text()),
    ("expires_at", sa.DateTime(timezone=True)),
    ("created_by", sa.Text()),
    ("revoked_by", sa.Text()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("token", sa.Column(name, kind, nullable=True))
    op.create_table(
        "sign_in",
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "sha256", "role")),
        sa.Column("cascades", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role in ('read', 'operator', 'admin')", name=op.f("ck_sign_in_role")),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name=op.f("fk_sign_in_token_id_token")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in")),
        sa.UniqueConstraint("sha256", name=op.f("uq_sign_in_sha256")),
    )


def downgrade() -> None:
    op.drop_table("sign_in")
    for name, _ in reversed(COLUMNS):
        op.drop_column("token", name)
