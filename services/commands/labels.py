"""`knowgate labels`: bring labels in, grade answers, ask which rows to label next, read what the
labels say.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from knowgate._wire import codec
from knowgate.spec import Privacy
from services.audit.recorded import disclose
from services.clock import SystemClock
from services.commands import label_figures, label_grading
from services.commands.options import AsJson, Cascade, End, Start, Timezone, require_folder, window_until
from services.commands.printing import print_fields, print_json, print_rows
from services.commands.user_tables import tell_lines
from services.database import database
from services.errors import InputInvalid
from services.labelling.aim import Aim
from services.labelling.files import LabelDefaults, LabelFile, label_mapping, read_labels
from services.labelling.label_logs import LabelLog, LoggedLabels, of_runs, parse_values, read_label_log
from services.labelling.log_formats import FIELDS, LabelKind
from services.labelling.near_misses import near_misses
from services.labelling.progress import label_progress
from services.labelling.queue import QueuedAnswer, label_queue
from services.labelling.queue_file import write_queue
from services.outcome_tables.columns import parse_mapping
from services.outcome_tables.times import Zone
from services.privacy import hash_key
from services.settings import operator, read_settings
from store.disclosures import Shown
from store.engine import reading, transaction
from store.releases import cascades
from store.traffic.decisions import external_ids
from store.traffic.labels import LabelsAdded, add_labels, waiting_counts, waiting_external_ids

app = typer.Typer(help="Import, grade and estimate; choose the rows to label next.", no_args_is_help=True)
app.command("grade")(label_grading.grade)
app.command("delays")(label_figures.delays)
app.command("estimate")(label_figures.estimate)


@app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet; a row per label.")],
    cascade: Cascade,
    system: Annotated[
        LabelKind | None, typer.Option("--from", help="Langfuse's scores, MLflow's assessments, Phoenix's annotations.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="field=column for columns of other names: correct=is_right,external_id=id; field= leaves one out.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --from: the name of the labels that say right or wrong.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--value", help="With --from: WORD=NUMBER, what a value is worth, 0 to 1.")
    ] = None,
    source: Annotated[LabelSource | None, typer.Option(help="Whose labels these are, where no column says.")] = None,
    labelled_at: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"], help="When they were made, where no column says."),
    ] = None,
    tier: Annotated[
        int | None, typer.Option(min=0, help="Which answers they are of; the served ones if left out.")
    ] = None,
    timezone: Timezone = None,
    as_json: AsJson = False,
) -> None:
    """Store the file's labels: decision_id or external_id, correct, labelled_at, source, tier,
    label_propensity. With --from, what another system gathered: on a trace it is of the answer that
    was served, on a span of that run.

    A bad file stores nothing; rows that the cascade cannot take are named and exit with 1, the
    others are stored.
    """
    defaults = LabelDefaults(cascade=cascade, source=source, labelled_at=labelled_at, tier=tier)
    now = SystemClock().now()
    if system is None:
        if name is not None or values:
            raise InputInvalid("--name and --value go with --from: leave them out, or say whose labels the file holds")
        read = read_labels(file, defaults, mapping=label_mapping(mapping), timezone=timezone, now=now)
        logged = None
    else:
        log = LabelLog(
            file=file,
            kind=system,
            name=name,
            values=parse_values(values),
            mapping=parse_mapping(mapping, FIELDS, FIELDS),
            zone=Zone(name=timezone, now=now),
        )
        logged = read_label_log(log, defaults)
        read = logged.file
    with database(read_settings()) as engine, transaction(engine) as session:
        cascades.cascade(session, cascade)
        added = _added(session, read, logged, cascade)
    _tell(read, added, logged, file, cascade, as_json=as_json)
    if added.rejected:
        raise typer.Exit(1)


def _tell(
    read: LabelFile, added: LabelsAdded, logged: LoggedLabels | None, file: Path, cascade: str, *, as_json: bool
) -> None:
    """What became of a file's labels, and what was wrong with each that was not stored."""
    print_fields(
        as_json=as_json,
        cascade=cascade,
        rows_read=read.rows_read,
        lines_in_file=read.lines_in_file,
        stored=added.stored,
        waiting=added.waiting,
        duplicates=added.duplicates,
        rejected=len(added.rejected),
        ambiguous=len(added.ambiguous),
        **({} if logged is None else {"left_out": logged.left_out}),
    )
    tell_lines(file, read.rows_read, read.lines_in_file)
    for row in added.rejected:
        typer.echo(f"{file.name}: {read.places[row.index]}: {row.field} is {row.value}: {row.cure}", err=True)
    for one in added.ambiguous:
        typer.echo(f"{file.name}: {one}", err=True)


def _added(session: Session, read: LabelFile, logged: LoggedLabels | None, cascade: str) -> LabelsAdded:
    """What became of the file's labels; the index of a rejected one is its place among them."""
    now = SystemClock().now()
    if logged is None:
        return add_labels(session, read.labels, received_at=now)
    labels, indexes, of_no_run = of_runs(session, logged, cascade)
    added = add_labels(session, labels, received_at=now)
    rejected = [replace(row, index=indexes[row.index]) for row in added.rejected]
    return replace(added, rejected=tuple(sorted([*of_no_run, *rejected], key=lambda row: row.index)))


@app.command()
def waiting(cascade: Cascade, as_json: AsJson = False) -> None:
    """Count the labels that no decision has taken up: still waiting, or parked and why.

    External ids that wait and look like one of a stored decision are named: it may be meant.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        cascades.cascade(session, cascade)
        rows = waiting_counts(session, cascade)
        near = near_misses(waiting_external_ids(session, cascade), external_ids(session, cascade))
    if as_json:
        print_json({"waiting": codec.encode(rows), "near_misses": codec.encode(near)})
        return
    print_rows("waiting", rows, as_json=False, columns=("reason", "labels", "oldest"))
    if near:
        typer.echo("external ids that wait, and stored ones that look like them:")
        shown = [replace(one, waiting=ascii(one.waiting), stored=ascii(one.stored)) for one in near]
        print_rows("near_misses", shown, as_json=False, columns=("waiting", "stored", "differ_by"))


@app.command()
def queue(
    cascade: Cascade,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="The chance that a decision becomes known; explored rows are drawn so much the likelier.",
        ),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Or: at the rate that costs about so many decisions.")] = None,
    aim: Annotated[
        Aim | None, typer.Option(help="What a budget is spent for; left out: what the cascade's target asks for.")
    ] = None,
    start: Start = None,
    end: End = None,
    out: Annotated[Path | None, typer.Option(help="Write a file that `labels import` takes once filled in.")] = None,
    as_json: AsJson = False,
) -> None:
    """List answers to label next, drawn by a fixed coin, explored ones first; each carries the
    propensity that its label is to carry. Left out, the rate is the exploration rate, with which
    most rows count for their labels.

    Says what the next certificate needs, and when it is tried.
    """
    if out is not None:
        _require_new(out)
    for name, value in (("--rate", rate), ("--budget", budget)):
        if value is not None and not value > 0:
            raise InputInvalid(f"{name} is {value}: above 0, or no row is ever drawn")
    settings, now = read_settings(), SystemClock().now()
    window = window_until(start, end, now)
    with database(settings) as engine, reading(engine) as session:
        rows = label_queue(
            session,
            cascade,
            window,
            as_of=now,
            rate=rate,
            budget=budget,
            aim=aim,
            key=hash_key(settings),
        )
        privacy = cascades.cascade(session, cascade).privacy
        progress = label_progress(session, cascade, now=now)
        disclose(engine, Shown.EXPORTED, f"answers of {cascade} to label", by=operator(settings), now=now)
    if not as_json:
        typer.echo(f"for the next certificate: {progress.sentence}", err=True)
    if privacy is not Privacy.FULL:
        typer.echo(_what_is_kept(privacy), err=True)
    if out is not None:
        _write_queue(rows, out, cascade)
        return
    columns = ("decision_id", "external_id", "tier", "model", "slice", "answer", "label_propensity")
    if as_json:
        print_json({"answers": codec.encode(rows), "progress": codec.encode(progress)})
        return
    print_rows("answers", rows, as_json=False, columns=columns)


def _what_is_kept(privacy: Privacy) -> str:
    """What a row of the queue lacks where the cascade does not keep texts in full."""
    answers = "answers are keyed hashes" if privacy.value == "hash" else "answers are not stored"
    return (
        f'prompts are not stored and {answers} (privacy = "{privacy.value}"): find the texts where the queries come'
        ' from, by external_id; `privacy = "full"` keeps them here'
    )


def _require_new(out: Path) -> None:
    require_folder(out, "--out")
    if out.exists():
        raise InputInvalid(
            f"--out is {out}: that file is there and may have been filled in; give another name, or remove it"
        )


def _write_queue(rows: Sequence[QueuedAnswer], out: Path, cascade: str) -> None:
    write_queue(rows, out)
    typer.echo(
        f"{len(rows)} answers are in {out}: fill in `correct`, leave out rows that stay empty, and say whose labels"
        f" they are and of when:\n  knowgate labels import {out} --cascade {cascade} --source human --labelled-at TIME",
        err=True,
    )
