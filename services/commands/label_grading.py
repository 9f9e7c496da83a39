"""`knowgate labels grade`: labels that a machine makes."""

from pathlib import Path
from typing import Annotated

import typer

from services.clock import SystemClock
from services.commands.options import AsJson, Cascade, End, Start, window_until
from services.commands.printing import print_record
from services.database import database
from services.errors import InputInvalid
from services.labelling.run_grading import GoldFile, GraderEndpoint, run_grading
from services.settings import read_settings


def grade(
    cascade: Cascade,
    gold: Annotated[
        Path | None, typer.Option(help="A file of right answers to compare with: CSV, JSONL or Parquet.")
    ] = None,
    id_column: Annotated[str, typer.Option(help="Its column of external ids or decision ids.")] = "external_id",
    answer_column: Annotated[
        str, typer.Option(help="Its column of answers; more rows of an id: more of them.")
    ] = "answer",
    endpoint: Annotated[
        str | None, typer.Option(help="A grader instead: an OpenAI-compatible address, e.g. http://127.0.0.1:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The grader's model.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="A file with {prompt} and {answer} that asks for RIGHT or WRONG.")
    ] = None,
    tier: Annotated[int | None, typer.Option(min=0, help="Grade the answers of this tier alone.")] = None,
    label_propensity: Annotated[
        float | None,
        typer.Option(help="The chance that an answer is graded; left out: 1 if all are gradable, else unknown."),
    ] = None,
    start: Start = None,
    end: End = None,
    as_json: AsJson = False,
) -> None:
    """Label answers by exact match against a file (source gold), or by a grader (source judge).

    Each answer is graded once: another call goes on with what is new. `labels estimate` tells a
    grader's error rates.
    """
    if label_propensity is not None and not 0.0 < label_propensity <= 1.0:
        raise InputInvalid(f"--label-propensity is {label_propensity}: it lies in (0, 1]")
    by: GoldFile | GraderEndpoint
    if gold is not None and endpoint is None:
        by = GoldFile(path=gold, id_column=id_column, answer_column=answer_column)
    elif endpoint is not None and gold is None and model is not None:
        by = GraderEndpoint(endpoint=endpoint, model=model, template=template)
    else:
        raise InputInvalid("give either --gold, or --endpoint with --model")
    settings, now = read_settings(), SystemClock().now()
    window = window_until(start, end, now)
    with database(settings) as engine:
        done = run_grading(engine, settings, cascade, window, by, now=now, tier=tier, label_propensity=label_propensity)
    if done.without_answer:
        missing = f"{done.without_answer} of {done.candidates} answers are not stored, as in imported history"
        typer.echo(f"{missing}: nobody can grade them", err=True)
    print_record(done, as_json=as_json)
