"""`knowgate vectors`: the upkeep of stored hidden states, at once; the scheduler does it every
hour.
"""

import typer

from services.clock import SystemClock
from services.commands.options import AsJson
from services.commands.printing import print_record
from services.database import database
from services.errors import Refused, ServicesError
from services.settings import read_settings
from services.vectors.retention import forget_expired
from services.vectors.shard_checks import check_shards
from services.vectors.shard_compaction import compact as compact_shards
from services.vectors.shard_files import sweep as sweep_files

app = typer.Typer(help="Compact, sweep and verify stored hidden states.", no_args_is_help=True)


@app.command()
def compact(as_json: AsJson = False) -> None:
    """Forget vectors past their retention, and merge small shards. Old files stay until they are
    swept.

    Exits with 1 when a shard is damaged: it is left as it is, and named.
    """
    settings, now = read_settings(), SystemClock().now()
    with database(settings) as engine:
        forgotten = forget_expired(engine, settings.vector_retention, now=now)
        done = compact_shards(engine, settings.shards_url, shard_bytes=settings.shard_bytes, now=now)
    if not as_json:
        typer.echo(f"forgot {forgotten} vectors past their retention")
    print_record(done, as_json=as_json)
    if done.damaged:
        raise ServicesError(f"{len(done.damaged)} damaged shards are left as they are: see above")


@app.command()
def sweep(as_json: AsJson = False) -> None:
    """Remove shards and leftovers that nothing has referred to for KNOWGATE_SHARD_GRACE."""
    settings = read_settings()
    with database(settings) as engine:
        done = sweep_files(engine, settings.shards_url, now=SystemClock().now(), grace=settings.shard_grace)
    print_record(done, as_json=as_json)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Compare every stored vector with what SQL says of it. Exits with 3 on any problem."""
    with database(read_settings()) as engine:
        report = check_shards(engine)
    print_record(report, as_json=as_json)
    if not report.verified:
        raise Refused("some vectors are not what was stored: see the problems above")
