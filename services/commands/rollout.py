"""`knowgate promote`, `approve`, `decline`, `rollback`, `cascade observe`, `stop`, `resume`,
`freeze`, `unfreeze`: what a person may do with a cascade, with who and why.
"""

from datetime import datetime
from typing import Annotated

import typer

from services.acts import Act, Asked, carry_out, cascade_state, freeze_until
from services.commands.jobs import job_context
from services.commands.options import FORMATS, AsJson, By, Cascade, aware, said
from services.commands.printing import print_record
from services.errors import InputInvalid, Refused
from services.jobs.job import JobContext
from services.jobs.promote import check_bundle
from services.promotion.bundle_files import stored_id
from services.promotion.rollout_state import described
from services.settings import operator
from store.engine import reading, transaction
from store.releases import assignments, bundles

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
        cascade, bundle_id = _stored(context, bundle)
        if reason is not None:
            asked = Asked(reason=reason, by=_who(context, by), bundle=bundle_id, despite_alarm=despite_alarm)
            _move(context, cascade, Act.PROMOTE, asked, as_json=as_json)
            return
        check = check_bundle(context, bundle_id, by=_who(context, by)).check
    print_record(check, as_json=as_json)
    if not check.passed:
        raise Refused(f"not promoted: {check.reason}")


Challenger = Annotated[str, typer.Argument(help="The challenger that waits: its id, or the start of it.")]


@app.command()
def approve(bundle: Challenger, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Put a challenger in force that passed the promotion check and awaits a person's word.

    Exits with 3 where it does not pass.
    """
    with job_context() as context:
        cascade, bundle_id = _stored(context, bundle)
        asked = Asked(reason=reason, by=_who(context, by), bundle=bundle_id)
        _move(context, cascade, Act.APPROVE, asked, as_json=as_json)


@app.command()
def decline(bundle: Challenger, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Say that a challenger that waits is not to come into force; no job judges it again."""
    with job_context() as context:
        cascade, bundle_id = _stored(context, bundle)
        _do(context, cascade, Act.DECLINE, Asked(reason=reason, by=_who(context, by), bundle=bundle_id), as_json)


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
        asked = Asked(
            reason=reason,
            by=_who(context, by),
            bundle=to,
            past_condemned=past_condemned,
            despite_alarm=despite_alarm,
        )
        _move(context, cascade, Act.ROLLBACK, asked, as_json=as_json)


Named = Annotated[str, typer.Argument(help="The cascade.")]


def stop(name: Named, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Keep nothing from now on: every query goes to the last tier, until a person resumes or
    promotes.
    """
    with job_context() as context:
        _move(context, name, Act.STOP, Asked(reason=reason, by=_who(context, by)), as_json=as_json)


def observe(name: Named, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Keep nothing from now on, and observe: the last tier answers at once, the others run beside
    it on a share of the queries, until a person resumes or promotes.
    """
    with job_context() as context:
        _move(context, name, Act.OBSERVE, Asked(reason=reason, by=_who(context, by)), as_json=as_json)


def resume(
    name: Named, reason: Reason, by: By = None, despite_alarm: DespiteAlarm = None, as_json: AsJson = False
) -> None:
    """Switch on a cascade that is observed or stopped: its champion decides again, or, where it has
    none, the newest certified bundle.

    Exits with 3 where nothing is certified, and where a risk alarm condemned it.
    """
    with job_context() as context:
        asked = Asked(reason=reason, by=_who(context, by), despite_alarm=despite_alarm)
        _move(context, name, Act.RESUME, asked, as_json=as_json)


def freeze(
    name: Named,
    reason: Reason,
    duration: Annotated[str | None, typer.Option("--for", help="For how long, e.g. 4h or 2d.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=FORMATS, help="Until this time instead.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let no job put anything in force until a time. What stops a cascade acts all the same, and so
    does a person.
    """
    with job_context() as context:
        end = freeze_until(duration, aware(until), context.clock.now())
        _do(context, name, Act.FREEZE, Asked(reason=reason, by=_who(context, by), until=end), as_json)


def unfreeze(name: Named, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """End a freeze before its time."""
    with job_context() as context:
        _do(context, name, Act.UNFREEZE, Asked(reason=reason, by=_who(context, by)), as_json)


def _move(context: JobContext, cascade: str, act: Act, asked: Asked, *, as_json: bool) -> None:
    """Does what changes what decides, and says what is in force then."""
    with transaction(context.engine) as session:
        before = assignments.assignment(session, cascade)
        carry_out(session, context.settings, cascade, act, asked, now=context.clock.now())
        fresh = assignments.assignment(session, cascade)
    assert fresh is not None  # a move makes one
    if as_json:
        print_record(fresh, as_json=True)
        return
    former = "" if before is None else f"; before: {described(before)}"
    typer.echo(f"{cascade}, generation {fresh.generation}: {described(fresh)}{former}")


def _do(context: JobContext, cascade: str, act: Act, asked: Asked, as_json: bool) -> None:
    """Does what changes nothing at once, and says where the cascade stands."""
    now = context.clock.now()
    with transaction(context.engine) as session:
        carry_out(session, context.settings, cascade, act, asked, now=now)
        stands = cascade_state(session, cascade, now=now)
    if as_json:
        print_record(stands, as_json=True)
        return
    typer.echo(f"{cascade}: {'; '.join(stands.lines)}")


def _stored(context: JobContext, named: str) -> tuple[str, str]:
    """The cascade and the id of a stored bundle."""
    with reading(context.engine) as session:
        bundle_id = stored_id(session, named)
        return bundles.bundle(session, bundle_id).cascade, bundle_id


def _who(context: JobContext, by: str | None) -> str:
    return by or operator(context.settings)
