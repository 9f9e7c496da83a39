"""One alert's page: what was seen, what the service did, what people did, and what to do."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from monitoring.names import Rule
from services.alerts import AlertStory, stories, story
from services.deliveries import DeliveryStory, stories_of
from services.pages.alert_evidence import Evidence, evidence_of
from services.pages.numbers import UNKNOWN, amount
from store.releases.cascades import cascade
from store.watching import alerts
from store.watching.alert_acts import Act
from store.watching.deliveries import deliveries

MOST = 200  # alerts that are listed, resolved ones among them
SILENCES = ("1h", "4h", "1d", "7d")  # that the form offers


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened."""

    at: datetime
    what: str
    who: str  # a person's name, or the service


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPage:
    """All that the page shows."""

    story: AlertStory
    advice: str
    details: tuple[tuple[str, str], ...]  # the numbers of the last ring
    moments: tuple[Moment, ...]  # newest first
    messages: tuple[DeliveryStory, ...]
    evidence: Evidence


def alert_page(session: Session, alert_id: UUID) -> AlertPage:
    """The page of one alert. Raises AlertUnknown."""
    alert_story = story(session, alert_id)
    details = json.loads(alert_story.rings[-1].details if alert_story.rings else alert_story.alert.details)
    return AlertPage(
        story=alert_story,
        advice=Rule(alert_story.alert.rule).advice,
        details=tuple((name, _detail(value)) for name, value in details.items()),
        moments=tuple(sorted(_moments(alert_story), key=lambda moment: moment.at, reverse=True)),
        messages=stories_of(session, deliveries(session, alert_id)),
        evidence=evidence_of(session, alert_story, _declared(session, alert_story.alert.cascade)),
    )


def _detail(value: object) -> str:
    """A number as people read it; all else as it is."""
    if isinstance(value, float):
        return amount(value)
    if isinstance(value, list):
        return ", ".join(_detail(one) for one in value)
    return UNKNOWN if value is None else str(value)


def _declared(session: Session, name: str) -> CascadeSpec | None:
    try:
        return cascade(session, name)
    except RecordInvalid:
        return None  # it cannot be read, which its own page says


def open_alerts(session: Session) -> tuple[AlertStory, ...]:
    """Those that are not resolved, critical ones first, in them those that nobody looks after."""
    shown = stories(session, alerts.alerts(session, open_only=True))
    return tuple(sorted(shown, key=lambda one: (one.severity, one.state == "acknowledged", one.alert.opened_at)))


def newest_alerts(session: Session) -> tuple[AlertStory, ...]:
    """The newest, resolved ones too, newest first."""
    return stories(session, alerts.newest_alerts(session, limit=MOST))


def _moments(alert_story: AlertStory) -> list[Moment]:
    alert, service = alert_story.alert, "knowgate"
    moments = [Moment(at=alert.opened_at, what="opened", who=service)]
    moments += [
        Moment(at=ring.rang_at, what=f"rang again: {ring.cause}", who=service) for ring in alert_story.rings[1:]
    ]
    moments += [Moment(at=deed.at, what=deed.what, who=service) for deed in alert_story.deeds]
    moments += [Moment(at=act.at, what=act.said, who=act.by) for act in alert_story.acts if act.act is not Act.RESOLVED]
    if alert.resolved_at is not None:
        by_hand = [act for act in alert_story.acts if act.act is Act.RESOLVED]
        said = by_hand[-1].said if by_hand else f"resolved: {alert.resolution}"
        moments.append(Moment(at=alert.resolved_at, what=said, who=by_hand[-1].by if by_hand else service))
    return moments
