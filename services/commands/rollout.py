"""`knowgate promote`, `rollback`, `cascade observe`, `cascade stop`, `cascade resume`: what a
person may move, with who and why.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from knowgate._bundles.assignment import Assignment
from services.commands.jobs import job_context
from services.commands.options import AsJson, By, Cascade, said
from services.commands.printing import print_record
from services.errors import InputInvalid, Refused
from services.jobs.job import JobContext
from services.jobs.promote import check_bundle
from services.promotion import ring_answers, rollout
from services.promotion.bundle_files import bundle_bytes
from services.promotion.rollout_state import Why, described
from services.settings import operator
from store.engine import reading, transaction
from store.releases import bundles

app = typer.Typer()


Reason = Annotated[str, typer.Option(callback=said, help="Why; it is kept in the promotion history and the ledger.")]
DespiteAlarm = Annotated[
    str | None,
    typer.Option(
        callback=said,
        help="Why a bundle that a risk alarm condemned is to decide all the same; kept beside the reason.",
    ),
]


@app.command()
def promote(
    bundle: Annotated[str, typer.Argument(help="The certified bundle's id, or the start of it.")],
    reason: Annotated[
        str | None,
        typer.Option(
            callback=said,
            help="Put it in force on your word, whatever the promotion check says; kept in history and ledger.",
        ),
    ] = None,
    by: By = None,
    despite_alarm: DespiteAlarm = None,
    as_json: AsJson = False,
) -> None:
    """Judge one certified bundle now, and put it in force if it passes; with --reason, put it in
    force on your word.

    Exits with 3 when it is not promoted.
    """
    if despite_alarm is not None and reason is None:
        raise InputInvalid("--despite-alarm needs --reason: only a person's word puts such a bundle in force")
    with job_context() as context:
        bundle_id = _stored(context, bundle)
        if reason is not None:
            why = Why(reason=reason, by=_who(context, by), despite_alarm=despite_alarm)
            with reading(context.engine) as session:
                cascade = bundles.bundle(session, bundle_id).cascade
            _move(context, cascade, partial(rollout.choose, bundle_id=bundle_id), why, as_json=as_json)
            return
        check = check_bundle(context, bundle_id, by=_who(context, by)).check
    print_record(check, as_json=as_json)
    if not check.passed:
        raise Refused(f"not promoted: {check.reason}")


@app.command()
def rollback(
    cascade: Cascade,
    reason: Reason,
    to: Annotated[
        str | None, typer.Option(help="The former champion to go back to: its id, or the start of it.")
    ] = None,
    past_condemned: Annotated[
        bool, typer.Option("--past-condemned", help="Go back past former champions that a risk alarm condemned.")
    ] = False,
    by: By = None,
    despite_alarm: DespiteAlarm = None,
    as_json: AsJson = False,
) -> None:
    """Put the champion before the present one back in force, or the one named; say what is in force
    now.

    Exits with 3 where a risk alarm condemned it.
    """
    if to is not None and past_condemned:
        raise InputInvalid("--to and --past-condemned are two ways: give one")
    if despite_alarm is not None and to is None:
        raise InputInvalid("--despite-alarm needs --to: name the bundle that is wanted all the same")
    with job_context() as context:
        target = None if to is None else _stored(context, to)
        why = Why(reason=reason, by=_who(context, by), despite_alarm=despite_alarm)
        move = partial(rollout.roll_back, to=target, past_condemned=past_condemned)
        _move(context, cascade, move, why, as_json=as_json)


def stop(
    name: Annotated[str, typer.Argument(help="The cascade.")], reason: Reason, by: By = None, as_json: AsJson = False
) -> None:
    """Keep nothing from now on: every query goes to the last tier, until a person resumes or
    promotes.
    """
    with job_context() as context:
        _move(context, name, rollout.stop, Why(reason=reason, by=_who(context, by)), as_json=as_json)


def observe(
    name: Annotated[str, typer.Argument(help="The cascade.")], reason: Reason, by: By = None, as_json: AsJson = False
) -> None:
    """Keep nothing from now on, and observe: the last tier answers at once, the others run beside
    it on a share of the queries, until a person resumes or promotes.
    """
    with job_context() as context:
        _move(context, name, rollout.observe, Why(reason=reason, by=_who(context, by)), as_json=as_json)


def resume(
    name: Annotated[str, typer.Argument(help="The cascade.")],
    reason: Reason,
    by: By = None,
    despite_alarm: DespiteAlarm = None,
    as_json: AsJson = False,
) -> None:
    """Switch on a cascade that is observed or stopped: its champion decides again, or, where it has
    none, the newest certified bundle.

    Exits with 3 where nothing is certified, and where a risk alarm condemned it.
    """
    with job_context() as context:
        why = Why(reason=reason, by=_who(context, by), despite_alarm=despite_alarm)
        _move(context, name, rollout.resume, why, as_json=as_json)


def _move(context: JobContext, cascade: str, move: Callable[..., Assignment], why: Why, *, as_json: bool) -> None:
    """Makes a move of `rollout`, and says what is in force then."""
    with transaction(context.engine) as session:
        now = context.clock.now()
        before = ring_answers.in_force(session, cascade, context.settings, now=now)
        fresh = move(session, before, settings=context.settings, why=why, now=now)
    if as_json:
        print_record(fresh, as_json=True)
    else:
        typer.echo(f"{fresh.cascade}, generation {fresh.generation}: {described(fresh)}; before: {described(before)}")


def _stored(context: JobContext, named: str) -> str:
    with reading(context.engine) as session:
        bundle_id, _ = bundle_bytes(session, named)
    if bundle_id is None:
        raise InputInvalid(f"bundle is {named!r}: only a stored bundle can be put in force; give its id")
    return bundle_id


def _who(context: JobContext, by: str | None) -> str:
    return by or operator(context.settings)
