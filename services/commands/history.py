"""`knowgate import` and `knowgate export`: outcome tables in and out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from knowgate._deciding.privacy import SecretKey
from knowgate._records.records import LabelSource, Window
from services.audit.recorded import disclose
from services.clock import SystemClock
from services.commands.options import AsJson, Cascade, End, Start, Timezone, aware, require_folder
from services.commands.printing import counting, print_record
from services.commands.user_tables import read_table
from services.database import database
from services.errors import InputInvalid
from services.history.export_outcomes import export_outcomes
from services.history.hidden_states import hidden_source
from services.history.import_logs import SHOWN, import_log, parse_tiers
from services.history.import_outcomes import import_table
from services.history.log_formats import FIELDS, FORMATS, LogKind
from services.history.logged_calls import LogSource
from services.outcome_tables.columns import parse_mapping
from services.outcome_tables.outcomes import write_outcomes
from services.outcome_tables.times import Zone
from services.privacy import hash_key
from services.settings import operator, read_settings
from store.disclosures import Shown
from store.engine import reading

app = typer.Typer()


@app.command("import")
def import_history(
    files: Annotated[list[Path], typer.Argument(help="An outcome table; with --from any number of logs.")],
    cascade: Cascade,
    system: Annotated[
        LogKind | None, typer.Option("--from", help="Whose logs they are; jsonl: your own, by --map.")
    ] = None,
    tiers: Annotated[
        list[str] | None,
        typer.Option("--tier", help="With --from: MODEL=NUMBER, which tier a model is; calls of others are left out."),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="field=column, with --from field=place.in.a.row; field= leaves one out."),
    ] = None,
    hidden: Annotated[Path | None, typer.Option(help="Hidden states beside it: .npz or .safetensors.")] = None,
    fingerprint: Annotated[
        Path | None, typer.Option(help="With --hidden: a JSON file that says what they are hidden states of.")
    ] = None,
    source: Annotated[
        LabelSource, typer.Option(help="Whose labels these are, where no column says.")
    ] = LabelSource.GOLD,
    start: Start = None,
    end: End = None,
    timezone: Timezone = None,
    as_json: AsJson = False,
) -> None:
    """Store an outcome table as a cascade's history: decisions, labels, hidden states. With --from,
    the logs of another system: decisions alone (`labels import --from` takes its labels).

    Run again, it changes nothing. Without a column occurred_at, --start and --end say when the
    queries happened.
    """
    settings, span = read_settings(), _span(start, end)
    _require_both("--from", system, "--tier", tiers)
    _require_both("--hidden", hidden, "--fingerprint", fingerprint)
    if system is not None:
        _refuse_with_logs(("--hidden", hidden), ("--start", start), ("--end", end))
        logs = LogSource(
            files=files,
            format=FORMATS[system],
            tiers=parse_tiers(tiers or []),
            mapping=parse_mapping(mapping, FIELDS, FIELDS),
            zone=Zone(name=timezone, now=SystemClock().now()),
        )
        _import_logs(logs, cascade, as_json=as_json)
        return
    if len(files) > 1:
        raise InputInvalid(f"{len(files)} files are given: an outcome table is one file; logs need --from")
    table, vectors = read_table(files[0], timezone, mapping), None
    if hidden is not None and fingerprint is not None:
        vectors = hidden_source(hidden, fingerprint, table, settings.shards_url, settings.shard_bytes)
    key, now = SecretKey(hash_key(settings)), SystemClock().now()
    with database(settings) as engine, counting("importing", table.queries) as report:
        done = import_table(
            engine, table, cascade, span=span, source=source, key=key, now=now, hidden=vectors, report=report
        )
    print_record(done, as_json=as_json)
    _tell_undeclared(done.undeclared, cascade)


def _import_logs(source: LogSource, cascade: str, *, as_json: bool) -> None:
    settings = read_settings()
    key, now = SecretKey(hash_key(settings)), SystemClock().now()
    with database(settings) as engine:
        done = import_log(engine, source, cascade, key=key, now=now)
    print_record(done, as_json=as_json)
    if done.left_out:
        typer.echo(f"calls left out: {'; '.join(map(str, done.left_out[:SHOWN]))}", err=True)
    if done.repeated:
        typer.echo(f"{done.repeated} calls asked a tier again for the same query: the later answer counts", err=True)
    if done.complete:
        cure = "where what ran was chosen by the answer, import an outcome table with run_propensity instead"
        typer.echo(f"every tier answered every query, so each is taken to have run with certainty; {cure}", err=True)
    _tell_undeclared(done.undeclared, cascade)


def _tell_undeclared(attempts: int, cascade: str) -> None:
    if attempts:
        cure = f"`knowgate cascade show {cascade}` tells the declared ones; correct the column model, or cascade.toml"
        notice = f"{attempts} attempts are of undeclared models: nothing is learned from them"
        typer.echo(f"{notice}; {cure}", err=True)


def _refuse_with_logs(*options: tuple[str, object]) -> None:
    given = next((name for name, value in options if value is not None), None)
    if given is not None:
        raise InputInvalid(f"{given} goes with an outcome table: leave it out, or --from")


def _span(start: datetime | None, end: datetime | None) -> Window | None:
    _require_both("--start", start, "--end", end)
    first, last = aware(start), aware(end)
    return None if first is None or last is None else Window(start=first, end=last)


def _require_both(name: str, value: object, other: str, other_value: object) -> None:
    if (value is None) != (other_value is None):
        missing, given = (name, other) if value is None else (other, name)
        raise InputInvalid(f"{missing} is not given, but {given} is: give both or neither")


@app.command("export")
def export_history(
    file: Annotated[Path, typer.Argument(help="The outcome table to write: Parquet, CSV or JSONL.")],
    cascade: Cascade,
    start: Start = None,
    end: End = None,
    as_of: Annotated[
        str | None, typer.Option(help="With the labels known at this time (ISO 8601); now if left out.")
    ] = None,
) -> None:
    """Write a cascade's history as an outcome table: a row per attempt, with the label in force.

    Imported again, it gives the same attempts and, of an answer's labels, the one in force. What
    sources say that the cascade does not trust is the column forecast; an import takes it for a
    judge's.
    """
    require_folder(file, "FILE")
    now = SystemClock().now()
    try:
        known_at = now if as_of is None else datetime.fromisoformat(as_of)
    except ValueError:
        raise InputInvalid(f"--as-of is {as_of!r}: a time such as 2026-01-31T12:00:00Z is expected") from None
    if known_at.tzinfo is None:
        raise InputInvalid(f"--as-of is {as_of!r}: the time is naive; add its offset, e.g. Z")
    window = Window(start=aware(start) or datetime(2000, 1, 1, tzinfo=UTC), end=aware(end) or now)
    settings, said = read_settings(), f"outcomes of {cascade}, {window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}"
    with database(settings) as engine:
        with reading(engine) as session:
            table = export_outcomes(session, cascade, window, as_of=known_at)
        disclose(engine, Shown.EXPORTED, said, by=operator(settings), now=now)
    write_outcomes(table, file)
    typer.echo(f"{table.queries} queries on {table.tiers} tiers are in {file}", err=True)
