"""What a cascade that is new still lacks, and what to do about each thing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate.spec import CascadeSpec
from monitoring.names import Rule
from services.labelling.progress import LabelProgress
from services.pages import numbers
from store.releases import certifications
from store.releases.assignments import RuntimeState
from store.traffic import decisions
from store.watching.alerts import AlertRecord
from store.watching.figure_means import FigureMean


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that has to be there."""

    done: bool
    what: str
    said: str  # how it stands, or what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was read of the cascade already."""

    spec: CascadeSpec
    runtimes: tuple[RuntimeState, ...]
    alerts: tuple[AlertRecord, ...]  # open ones
    coverage: FigureMean | None  # of labels
    queries: FigureMean | None
    labels: LabelProgress


def checklist(session: Session, known: Known, *, now: datetime) -> tuple[Item, ...]:
    """The way to the first certificate; empty once something was attempted."""
    spec = known.spec
    if certifications.next_attempt_number(session, spec.name) > 1:
        return ()
    newest = decisions.last_time(session, spec.name)
    return (
        Item(done=True, what="declared", said=f"{len(spec.tiers)} tiers, {spec.tiers[-1].name} last"),
        _runtime(known, now),
        _decisions(known, newest, now),
        _models(known, newest),
        _labels(known),
        Item(done=False, what="first certificate", said=known.labels.sentence),
    )


def _runtime(known: Known, now: datetime) -> Item:
    if not known.runtimes:
        said = "start a gateway or a runtime with this cascade (docs/gateway.md)"
        return Item(done=False, what="runtime seen", said=said)
    newest = max(known.runtimes, key=lambda one: one.seen_at)
    return Item(done=True, what="runtime seen", said=f"{newest.runtime}, {numbers.age(newest.seen_at, now)}")


def _decisions(known: Known, newest: datetime | None, now: datetime) -> Item:
    if newest is None:
        return Item(done=False, what="decisions", said="none has arrived yet: send traffic through the gateway")
    counted = known.queries
    many = "" if counted is None or counted.value is None else f"{numbers.count(counted.value)} in 7 days, "
    return Item(done=True, what="decisions", said=f"{many}newest {numbers.age(newest, now)}")


def _models(known: Known, newest: datetime | None) -> Item:
    undeclared = next((one for one in known.alerts if one.rule == Rule.UNDECLARED_MODEL), None)
    if undeclared is not None:
        return Item(done=False, what="models as declared", said=f"{undeclared.cause}. {Rule.UNDECLARED_MODEL.advice}")
    return Item(
        done=newest is not None, what="models as declared", said="" if newest else "seen with the first decision"
    )


def _labels(known: Known) -> Item:
    share = known.coverage
    if share is None or share.value is None or share.value == 0.0:
        return Item(done=False, what="labels", said="none yet: send them to POST /v1/labels, or declare a grader")
    return Item(done=True, what="labels", said=f"{numbers.percent(share.value)} of answers")
