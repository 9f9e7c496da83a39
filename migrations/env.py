"""How migrations run: on the connection a caller gives, else on the database named with `-x url=…`.

The store gives its own connection (`store.schema`); the `alembic` command line, used to write a new
migration, comes without one. Batch mode is on, since SQLite alters a table by copying it.
"""

from alembic import context
from sqlalchemy import Connection

from store.engine import open_engine
from store.schema import keeps_name, keeps_object
from store.tables import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=keeps_name,
        include_object=keeps_object,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///var/migrations.db")
    with open_engine(url).begin() as opened:
        run(opened)
