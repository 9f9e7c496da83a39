"""Messages go to receivers, about alerts and about moves of what is in force; each try is a row."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("delivery") as table:
        table.alter_column("alert_id", existing_type=sa.Uuid(), nullable=True)
        table.add_column(sa.Column("cascade", sa.Text(), nullable=True))
        table.add_column(sa.Column("promotion_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(op.f("fk_delivery_cascade_cascade"), "cascade", ["cascade"], ["name"])
        table.create_foreign_key(op.f("fk_delivery_promotion_id_promotion"), "promotion", ["promotion_id"], ["id"])
        table.create_unique_constraint(op.f("uq_delivery_promotion_id_url"), ["promotion_id", "url"])
    op.create_index("ix_delivery_created_at", "delivery", ["created_at"])
    op.create_table(
        "delivery_try",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_try_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_try")),
    )


def downgrade() -> None:
    op.drop_table("delivery_try")
    op.drop_index("ix_delivery_created_at", "delivery")
    # The schema before knows messages about alerts alone.
    op.execute("DELETE FROM delivery WHERE alert_id IS NULL")
    with op.batch_alter_table("delivery") as table:
        table.drop_constraint(op.f("uq_delivery_promotion_id_url"), type_="unique")
        table.drop_constraint(op.f("fk_delivery_promotion_id_promotion"), type_="foreignkey")
        table.drop_constraint(op.f("fk_delivery_cascade_cascade"), type_="foreignkey")
        table.drop_column("promotion_id")
        table.drop_column("cascade")
        table.alter_column("alert_id", existing_type=sa.Uuid(), nullable=False)
