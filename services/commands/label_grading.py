"""`knowgate labels grade`: labels that a machine makes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knowgate.records import LabelSource
from services.commands.options import AsJson, Cascade, End, Start, aware

if TYPE_CHECKING:
    from services.grading.grader import Grader


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What `labels grade` did."""

    cascade: str
    source: LabelSource
    candidates: int
    stored: int
    not_told: int  # the grader could not tell: no such query in the file, no text kept, or no verdict
    right: int
    label_propensity: float | None


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
        str | None, typer.Option(help="A judge instead: an OpenAI-compatible address, e.g. http://127.0.0.1:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The judge's model.")] = None,
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
    """Label answers by exact match against a file (source gold), or by a judge (source judge).

    Each answer is graded once: another call goes on with what is new. `labels estimate` tells a judge's error rates.
    """
    from datetime import timedelta

    import httpx

    from knowgate.records import Window
    from services.clock import SystemClock
    from services.commands.printing import print_record
    from services.database import database
    from services.errors import InputInvalid
    from services.grading.candidates import candidates
    from services.grading.exact_match import exact_match
    from services.grading.grader import Grading, batches, graded
    from services.grading.judge import Judge, read_template, refuse_unreadable
    from services.settings import hash_key, read_settings
    from store import cascades
    from store.engine import reading, transaction
    from store.labels import add_labels

    if (gold is None) == (endpoint is None):
        raise InputInvalid("--gold and --endpoint: give one of the two")
    if endpoint is not None and (model is None or not endpoint.startswith(("http://", "https://"))):
        raise InputInvalid(
            f"--endpoint is {endpoint}, --model {model}: an http:// or https:// address and a model's name"
        )
    if label_propensity is not None and not 0.0 < label_propensity <= 1.0:
        raise InputInvalid(f"--label-propensity is {label_propensity}: it lies in (0, 1]")
    source = LabelSource.GOLD if endpoint is None else LabelSource.JUDGE
    settings, clock = read_settings(), SystemClock()
    now = clock.now()
    until = aware(end) or now
    window = Window(start=aware(start) or until - timedelta(days=28), end=until)
    with database(settings) as engine, httpx.Client(timeout=60.0) as client:
        with reading(engine) as session:
            spec = cascades.cascade(session, cascade)
            chosen = candidates(session, cascade, window, as_of=now, source=source, tier=tier)
        grader: Grader
        if gold is not None:
            key = hash_key(settings)
            grader = exact_match(gold, id_column=id_column, answer_column=answer_column, privacy=spec.privacy, key=key)
            if label_propensity is None and all(grader.grade(one) is not None for one in chosen):
                label_propensity = 1.0
        else:
            refuse_unreadable(spec.privacy)
            grader = Judge(
                endpoint=str(endpoint),
                model=str(model),
                client=client,
                template=read_template(template),
                api_key=settings.judge_api_key,
            )
            if label_propensity is None and all(one.prompt and one.answer for one in chosen):
                label_propensity = 1.0
        grading = Grading(cascade=cascade, source=source, label_propensity=label_propensity)
        stored = untold = right = 0
        for batch in batches(graded(chosen, grader, grading, now=now)):
            made = [label for label in batch if label is not None]
            untold += len(batch) - len(made)
            right += sum(label.correct >= 0.5 for label in made)
            with transaction(engine) as session:
                stored += add_labels(session, made, received_at=clock.now()).stored
    done = Graded(
        cascade=cascade,
        source=source,
        candidates=len(chosen),
        stored=stored,
        not_told=untold,
        right=right,
        label_propensity=label_propensity,
    )
    print_record(done, as_json=as_json)
