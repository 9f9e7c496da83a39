"""Messages of one alert to one webhook are numbered, so that they are sent in the order
of events.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0017"
branch_labels = None
depends_on = None

_EARLIER = """SELECT count(*) FROM delivery AS earlier WHERE earlier.alert_id = delivery.alert_id
    AND earlier.url = delivery.url AND (earlier.created_at < delivery.created_at
    OR (earlier.created_at = delivery.created_at AND earlier.id <= delivery.id))"""


def upgrade() -> None:
    op.add_column("delivery", sa.Column("number", sa.BigInteger(), nullable=True))
    op.execute(f"UPDATE delivery SET number = ({_EARLIER})")
    with op.batch_alter_table("delivery") as table:
        table.alter_column("number", existing_type=sa.BigInteger(), nullable=False)
        table.drop_constraint(op.f("uq_delivery_alert_id_url_event"), type_="unique")
        table.create_unique_constraint(op.f("uq_delivery_alert_id_url_number"), ["alert_id", "url", "number"])


def downgrade() -> None:
    # Of several messages about one kind of event the schema before can keep the last.
    op.execute(
        "DELETE FROM delivery WHERE EXISTS (SELECT 1 FROM delivery AS later WHERE later.alert_id = delivery.alert_id"
        " AND later.url = delivery.url AND later.event = delivery.event AND later.number > delivery.number)"
    )
    with op.batch_alter_table("delivery") as table:
        table.drop_constraint(op.f("uq_delivery_alert_id_url_number"), type_="unique")
        table.create_unique_constraint(op.f("uq_delivery_alert_id_url_event"), ["alert_id", "url", "event"])
        table.drop_column("number")
