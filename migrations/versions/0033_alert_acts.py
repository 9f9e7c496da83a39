"""What people do about alerts, and the role that may: `operator`."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

BEFORE = "role in ('ingest', 'runtime', 'read', 'admin')"
NOW = "role in ('ingest', 'runtime', 'read', 'operator', 'admin')"


def upgrade() -> None:
    op.create_table(
        "alert_act",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("act in ('acknowledged', 'silenced', 'resolved')", name=op.f("ck_alert_act_act")),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_alert_act_alert_id_alert")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_act")),
    )
    op.create_index("ix_alert_act_alert_id", "alert_act", ["alert_id"])
    _roles(BEFORE, NOW)


def downgrade() -> None:
    op.execute("UPDATE token SET role = 'read' WHERE role = 'operator'")
    _roles(NOW, BEFORE)
    op.drop_table("alert_act")


def _roles(old: str, new: str) -> None:
    """One CHECK for another. SQLite does not tell a CHECK's name, so the table as it is gets
    written down for it.
    """
    with op.batch_alter_table("token", copy_from=_token(old)) as table:
        table.drop_constraint(op.f("ck_token_role"), type_="check")
        table.create_check_constraint(op.f("ck_token_role"), new)


def _token(roles: str) -> sa.Table:
    return sa.Table(
        "token",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "sha256", "role")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=True) for name in ("last_used_at", "revoked_at")),
        sa.CheckConstraint(roles, name="ck_token_role"),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("name", name="uq_token_name"),
        sa.UniqueConstraint("sha256", name="uq_token_sha256"),
    )
