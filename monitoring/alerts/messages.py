"""What messages say: the document that is kept and that webhooks get, and the text that people
read, which is one for all receivers.

A document is written with what it speaks of, in one transaction. The text is made of it when it is
sent, with the links of where the pages are then, and with what was done meanwhile.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from knowgate._records.receivers import Severity
from knowgate._wire import codec
from monitoring.names import Rule
from monitoring.words import short
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord
from store.watching.alert_acts import AlertAct
from store.watching.alerts import AlertRecord
from store.watching.deliveries import TRIAL

ALERT, MOVE, SILENCE = "knowgate.alert.v1", "knowgate.move.v1", "knowgate.silence.v1"
TEST = "knowgate.test.v1"
SILENCED = "silenced"  # the event of a message to who keeps silences itself
_TRIAL_LASTS = timedelta(minutes=5)  # at who keeps alerts: long enough to be passed on to people

_MOVED = {
    Outcome.PROMOTED: "Another bundle decides.",
    Outcome.STOPPED: "It is stopped: nothing is kept, the last tier answers every query.",
    Outcome.RESUMED: "It decides again.",
    Outcome.ROLLED_BACK: "It was rolled back.",
    Outcome.FELL_BACK: "A more cautious bundle decides.",
    Outcome.SHADOWED: "A challenger is tried: it decides beside the champion and changes nothing.",
    Outcome.SHARED: "A challenger decides a share of the queries.",
    Outcome.ABORTED: "A challenger was taken back: it decides nothing any more.",
    Outcome.OBSERVED: "It is observed: nothing is kept, the last tier answers every query.",
}
_AFTER = {
    Outcome.STOPPED: "Find out what changed. `knowgate cascade resume` starts it again, `knowgate rollback` goes back.",
}


class Event(StrEnum):
    """What became of an alert."""

    OPENED = "opened"
    RANG_AGAIN = "rang_again"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one message says, before it has a form."""

    cascade: str
    event: str
    severity: Severity
    headline: str
    cause: str  # with the numbers
    began_at: datetime
    page: str  # a path on our pages
    rule: str | None = None  # None = it is about a move
    ended_at: datetime | None = None
    done: str | None = None  # by the service
    response: str | None = None  # what the service does by itself
    root: str | None = None  # what explains it
    consequences: tuple[str, ...] = ()  # what it explains
    advice: str | None = None
    runbook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A message as people read it."""

    title: str  # one line
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What stands beside an alert in a message about it."""

    ring: RingRecord | None = None
    root: AlertRecord | None = None  # what explains it
    below: tuple[AlertRecord, ...] = ()  # what it explains, and nobody hears of apart


def alert_document(record: AlertRecord, event: Event, number: int, around: Around | None = None) -> str:
    """The JSON body of an alert's `number`-th message to one receiver, to the byte."""
    rule, around = Rule(record.rule), around or Around()
    said = {"title": rule.headline, "severity": rule.severity.value, "runbook": rule.runbook}
    said |= {"response": rule.response, "advice": rule.advice}
    alert = codec.encode(record) | {"details": json.loads(record.details)} | said
    return _body(
        ALERT,
        event.value,
        number,
        alert=alert,
        ring=None if around.ring is None else _ring_document(around.ring),
        root=None if around.root is None else _beside(around.root),
        consequences=[_beside(one) for one in around.below],
    )


def _beside(record: AlertRecord) -> dict[str, str]:
    """Another alert, in short."""
    rule = Rule(record.rule)
    return {
        "id": str(record.id),
        "rule": rule.value,
        "title": rule.headline,
        "severity": rule.severity.value,
        "cause": record.resolution or record.cause,
        "opened_at": record.opened_at.isoformat(),
    }


def move_document(record: PromotionRecord) -> str:
    """The JSON body of the message about a move, to the byte."""
    said = {name: value for name, value in codec.encode(record).items() if name != "check"}
    said |= {"title": moved(record.outcome), "severity": move_severity(record.outcome).value}
    return _body(MOVE, record.outcome.value, record.generation or 0, move=said)


def silence_document(record: AlertRecord, act: AlertAct, number: int) -> str:
    """The JSON body of the message that its rule is silenced, for who keeps silences itself."""
    said = {"cascade": record.cascade, "rule": record.rule, **codec.encode(act)}
    return _body(SILENCE, SILENCED, number, silence=said)


def trial_document(cascade: str, by: str, now: datetime) -> str:
    """The JSON body of a message that somebody asked for to see whether it arrives."""
    said = {"cascade": cascade, "asked_by": by, "asked_at": now.isoformat()}
    return _body(TEST, TRIAL, 1, test=said)


def move_severity(outcome: Outcome) -> Severity:
    """What follows a ring is to be looked at now, every other move today."""
    return Severity.CRITICAL if outcome in (Outcome.STOPPED, Outcome.FELL_BACK) else Severity.WARNING


def moved(outcome: Outcome) -> str:
    """What a move did, in a sentence."""
    return _MOVED.get(outcome, f"It was moved: {outcome.value.replace('_', ' ')}.")


def message_in(document: str, done: str | None = None) -> Message:
    """What a document says, but for a silence's; `done`: by the service meanwhile."""
    said = json.loads(document)
    if said["schema"] == TEST:
        return _trial_message(said["test"])
    return _move_message(said["move"]) if said["schema"] == MOVE else _alert_message(said, done)


def message_of(record: AlertRecord, ring: RingRecord | None, done: str | None = None) -> Message:
    """What is to be said of an alert that is open."""
    return message_in(alert_document(record, Event.OPENED, 1, Around(ring=ring)), done)


def text_of(message: Sequence[Message], public_url: str | None = None) -> Text:
    """The text about what belongs together, of one cascade: one alert or move, or a group of
    alerts, the first of them the one that matters most. `public_url`: where our pages are.
    """
    first = message[0]
    more = len(message) - 1 + sum(len(one.consequences) for one in message)
    many = "" if more == 0 else f" And {more} more."
    title = f"[{_mark(first)}] {first.cascade}: {first.headline}{many}"
    parts = [_lines(one, public_url, headed=len(message) > 1) for one in message]
    return Text(title=title, body="\n\n".join("\n".join(lines) for lines in parts))


def page_url(message: Message, public_url: str | None) -> str | None:
    """The page that shows it; None where nobody said where our pages are."""
    return None if public_url is None else public_url.rstrip("/") + message.page


def runbook_url(message: Message, public_url: str | None) -> str | None:
    """Where its runbook is: on our pages, or, where nobody said where these are, its file."""
    if message.runbook is None or public_url is None:
        return message.runbook
    return f"{public_url.rstrip('/')}/{message.runbook}"


def _mark(message: Message) -> str:
    if message.event == Event.OPENED:
        return message.severity.value
    return f"{message.severity.value}, again" if message.event == Event.RANG_AGAIN else message.event.replace("_", " ")


def _lines(message: Message, public_url: str | None, *, headed: bool) -> list[str]:
    page = page_url(message, public_url)
    since = (
        f"Since {message.began_at:%Y-%m-%d %H:%M} UTC"
        if message.rule is not None
        else f"{message.began_at:%Y-%m-%d %H:%M} UTC"
    )
    if message.ended_at is not None:
        since += f" until {message.ended_at:%Y-%m-%d %H:%M} UTC"
    said = [
        (f"[{_mark(message)}] ", message.headline if headed else None),
        ("", _sentence(message.cause)),
        ("It follows from: ", message.root),
        *(("With it: ", consequence) for consequence in message.consequences),
        ("What was done: ", message.done),
        (
            "What the service does: ",
            message.response if message.done is None and message.event != Event.RESOLVED else None,
        ),
        ("What to do: ", message.advice if message.event != Event.RESOLVED else None),
        ("", since),
        ("Page: ", page),
        ("Runbook: ", runbook_url(message, public_url) if message.event != Event.RESOLVED else None),
    ]
    return [f"{before}{what}" for before, what in said if what]


def _sentence(cause: str) -> str:
    """A cause as it begins a text."""
    return cause[:1].upper() + cause[1:]


def _alert_message(said: Any, done: str | None) -> Message:
    alert, ring = said["alert"], said["ring"]
    cause = alert["resolution"] if said["event"] == Event.RESOLVED else (ring or alert)["cause"]
    return Message(
        cascade=alert["cascade"],
        event=said["event"],
        severity=Severity(alert["severity"]),
        headline=alert["title"],
        cause=cause,
        began_at=datetime.fromisoformat(alert["opened_at"]),
        ended_at=None if alert["resolved_at"] is None else datetime.fromisoformat(alert["resolved_at"]),
        page=f"/alerts/{alert['id']}",
        rule=alert["rule"],
        done=done,
        root=None if said.get("root") is None else _named(said["root"]),  # rows from before have none
        consequences=tuple(map(_named, said.get("consequences", ()))),
        response=alert.get("response"),
        advice=alert.get("advice"),
        runbook=alert.get("runbook"),
    )


def _named(other: Any) -> str:
    return f"{other['title']} {_sentence(other['cause'])}"


def _move_message(said: Any) -> Message:
    outcome, bundle, before = Outcome(said["outcome"]), said["bundle"], said["previous"]
    by = said["decided_by"] or "the service"
    tried = outcome in (Outcome.SHADOWED, Outcome.SHARED, Outcome.ABORTED)
    decides = "the challenger is" if tried else "what decides is"
    place = "" if bundle is None else f"; {decides} bundle {short(bundle)}"
    place += "" if before in (None, bundle) else f"; {'the champion is' if tried else 'before it'} {short(before)}"
    return Message(
        cascade=said["cascade"],
        event=said["outcome"],
        severity=Severity(said["severity"]),
        headline=said["title"],
        cause=said["reason"],
        began_at=datetime.fromisoformat(said["decided_at"]),
        page=f"/cascades/{said['cascade']}",
        done=f"generation {said['generation']}, by {by}{place}",
        advice=_AFTER.get(outcome),
    )


def _trial_message(said: Any) -> Message:
    asked_at = datetime.fromisoformat(said["asked_at"])
    return Message(
        cascade=said["cascade"],
        event=TRIAL,
        severity=Severity.WARNING,
        headline="This is a test: nothing is wrong.",
        cause=f"{said['asked_by']} asked for it, to see that messages about this cascade arrive here.",
        began_at=asked_at,
        ended_at=asked_at + _TRIAL_LASTS,
        page=f"/cascades/{said['cascade']}",
        rule="knowgate_test",
    )


def _body(schema: str, event: str, number: int, **said: object) -> str:
    body = {"schema": schema, "event": event, "sequence": number, **said}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _ring_document(ring: RingRecord) -> dict[str, object]:
    return {
        "number": ring.number,
        "cause": ring.cause,
        "details": json.loads(ring.details),
        "rang_at": ring.rang_at.isoformat(),
        "generation": ring.spoken.generation,
        "champion": ring.spoken.champion,
    }
