"""`knowgate alert`: what is wrong, what became of it, and what a person does about it."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated

import typer

from services.alerts import AlertStory, act_on, silence_until, stories
from services.clock import SystemClock
from services.commands.options import AsJson, By, said
from services.commands.printing import print_record, print_rows
from services.database import database
from services.errors import InputInvalid
from services.settings import operator, read_settings
from store.engine import reading, transaction
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import AlertRecord, alerts

app = typer.Typer(help="Alerts: look at them, acknowledge, silence and resolve them.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or the end of it that `list` shows.")]
Reason = Annotated[str, typer.Option(callback=said, help="Why; it is kept beside the alert and in the ledger.")]
SHORT = 8  # of an id's end: it begins with the time, so that alerts of one day begin alike


@app.command("list")
def list_alerts(
    cascade: Annotated[str | None, typer.Option(help="Of this cascade alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List alerts, oldest first: those that are not resolved, unless all are asked for."""
    with database(read_settings()) as engine, reading(engine) as session:
        shown = stories(session, alerts(session, cascade, open_only=not every))
    if as_json:
        print_rows("alerts", shown, as_json=True, columns=())
        return
    lines = [_line(story) for story in shown]
    print_rows("alerts", lines, as_json=False, columns=tuple(field.name for field in fields(_Line)))


@app.command()
def show(alert: Named, as_json: AsJson = False) -> None:
    """What one alert says, what the service did about it, and what people did."""
    with database(read_settings()) as engine, reading(engine) as session:
        story = stories(session, [_named(alerts(session), alert)])[0]
    if as_json:
        print_record(story, as_json=True)
    else:
        typer.echo("\n".join(lines(story)))


@app.command()
def acknowledge(alert: Named, reason: Reason, by: By = None) -> None:
    """Say that somebody looks after it; a further ring takes that back."""
    _act(alert, Act.ACKNOWLEDGED, reason, by)


@app.command()
def silence(
    alert: Named,
    reason: Reason,
    duration: Annotated[str, typer.Option(help="How long, e.g. 4h or 2d; 0s ends a silence.")],
    by: By = None,
) -> None:
    """Send no messages about its rule for a while.

    The service goes on to act on its rings, and what stands when the silence is over is said then.
    """
    _act(alert, Act.SILENCED, reason, by, duration)


@app.command()
def resolve(alert: Named, reason: Reason, by: By = None) -> None:
    """Say that it is over. The rule opens another alert where it sees harm again; nothing that was
    stopped is started by this.
    """
    _act(alert, Act.RESOLVED, reason, by)


def lines(story: AlertStory) -> list[str]:
    """An alert as the command line tells it."""
    alert = story.alert
    later = [(ring.rang_at, f"rang again: {ring.cause}") for ring in story.rings[1:]]
    later += [(deed.at, deed.what) for deed in story.deeds]
    later += [(act.at, f"{act.by} {act.said}") for act in story.acts if act.act is not Act.RESOLVED]
    if alert.resolved_at is not None:
        later.append((alert.resolved_at, f"resolved: {alert.resolution}"))
    return [
        f"{story.title} {alert.cascade}, rule {alert.rule}, {story.severity}, {story.state}",
        *(f"  {at:%Y-%m-%d %H:%M} UTC  {what}" for at, what in [(alert.opened_at, alert.cause), *sorted(later)]),
        f"what the service does: {story.response}",
        f"what to do: {story.runbook}",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """An alert in a list."""

    id: str
    cascade: str
    rule: str
    severity: str
    state: str
    opened_at: datetime
    cause: str


def _line(story: AlertStory) -> _Line:
    alert = story.alert
    return _Line(
        id=str(alert.id)[-SHORT:],
        cascade=alert.cascade,
        rule=alert.rule,
        severity=story.severity,
        state=story.state,
        opened_at=alert.opened_at,
        cause=alert.cause,
    )


def _act(alert: str, act: Act, reason: str, by: str | None, duration: str | None = None) -> None:
    settings, now = read_settings(), SystemClock().now()
    with database(settings) as engine, transaction(engine) as session:
        key = _named(alerts(session), alert).id
        assert key is not None  # it is stored
        until = silence_until(duration, now)
        who = by or operator(settings)
        story = act_on(session, AlertAct(alert_id=key, act=act, by=who, reason=reason, at=now, until=until))
    typer.echo("\n".join(lines(story)))


def _named(stored: tuple[AlertRecord, ...], named: str) -> AlertRecord:
    matches = [record for record in stored if len(named) >= SHORT and str(record.id).endswith(named.lower())]
    if len(matches) != 1:
        many = (
            "several alerts end so, give more of the id" if matches else "no alert has this id; `knowgate alert list`"
        )
        raise InputInvalid(f"alert is {named!r}: {many}")
    return matches[0]
