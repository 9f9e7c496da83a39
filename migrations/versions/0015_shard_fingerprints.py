"""What a shard's vectors are hidden states of, how many of its rows hold data, and since when it is
superseded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("vector_shard") as table:
        table.add_column(sa.Column("fingerprint", sa.Text(), nullable=True))
        table.add_column(sa.Column("rows", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True))
        table.create_foreign_key(
            op.f("fk_vector_shard_fingerprint_fingerprint"), "fingerprint", ["fingerprint"], ["sha256"]
        )
    op.execute(
        "UPDATE vector_shard SET rows = (SELECT count(*) FROM vector_row WHERE vector_row.shard = vector_shard.id)"
    )
    with op.batch_alter_table("vector_shard") as table:
        table.alter_column("rows", existing_type=sa.BigInteger(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("vector_shard") as table:
        table.drop_constraint(op.f("fk_vector_shard_fingerprint_fingerprint"), type_="foreignkey")
        table.drop_column("superseded_at")
        table.drop_column("rows")
        table.drop_column("fingerprint")
