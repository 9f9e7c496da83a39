"""A believable deployment: four cascades, one that keeps its promise, one that waits to be switched
on, one that an alarm has stopped, and one that is new.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks.pages.bulk import Asked, Episode, Traffic, add_decisions, add_figures
from benchmarks.pages.props import (
    DAY,
    HOUR,
    NOW,
    Cast,
    assign,
    bundle_of,
    declare,
    hear,
    move,
    raise_alert,
    store,
    train,
)
from knowgate import Bundle
from knowgate._bundles.assignment import Mode
from monitoring.names import Rule
from monitoring.words import short
from store.engine import transaction
from store.jobs.occasions import TrainingReason
from store.releases import cascades, rings
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome

TOPICS = ("billing", "returns", "delivery", "accounts", "warranty", "invoices", "outages", "upgrades", "contracts")
MODELS = ("qwen3-8b", "llama-3.3-70b")
KEPT_NOTHING = {"savings_usd": -1.0, "savings_gflops": -1.0, "retained_share": -1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of it."""

    days: int = 60  # of the oldest cascade
    slices: int = 9
    decisions: int = 20_000


def tell(engine: Engine, size: Size) -> None:
    """Fill an empty, migrated SQLite database."""
    support = Cast(name="support", since=NOW.replace(minute=0) - size.days * DAY)
    search = Cast(name="search", since=NOW.replace(minute=0) - 40 * DAY, allowed=0.03, hourly=300.0)
    billing = Cast(name="billing", since=NOW.replace(minute=0) - 12 * DAY, hourly=40.0)
    translate = Cast(name="translate", since=NOW.replace(minute=0) - 2 * DAY, hourly=15.0)
    for cast in (support, search, billing, translate):
        with transaction(engine) as session:
            declare(session, cast)
    _support(engine, support, size)
    _search(engine, search)
    _billing(engine, billing)
    _translate(engine, translate)


def _traffic(cast: Cast, **more: Any) -> Traffic:
    return Traffic(cascade=cast.name, start=cast.since, end=NOW.replace(minute=0), hourly=cast.hourly, **more)


def _support(engine: Engine, cast: Cast, size: Size) -> None:
    traffic, (first, second) = _support_traffic(cast, size), (bundle_of(cast, 1), bundle_of(cast, 2))
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=size.decisions, bundle=second.id, models=MODELS))
    with transaction(engine) as session:
        _support_promotions(session, cast, first, second)
        _support_pause(session, cast, second)
        _support_alerts(session, cast)
        train(session, cast, NOW - 7 * DAY, TrainingReason.SCHEDULE, "its turn: a period has ended", "certified")


def _support_traffic(cast: Cast, size: Size) -> Traffic:
    """Steady but for a day on which nothing was kept, and a shift in its last days."""
    slices = [TOPICS[at % len(TOPICS)] + ("" if at < len(TOPICS) else f"-{at}") for at in range(size.slices)]
    drift = Episode(
        start=NOW - 5 * DAY,
        end=NOW,
        moved={"savings_usd": -0.07, "savings_gflops": -0.07, "retained_share": -0.09, "escalated_share.ood": 0.09},
    )
    dip = Episode(start=NOW - 24 * DAY, end=NOW - 23 * DAY, moved={"savings_usd": -0.3, "retained_share": -0.42})
    return _traffic(cast, episodes=(drift, dip), slices=slices)


def _support_promotions(session: Session, cast: Cast, first: Bundle, second: Bundle) -> None:
    """Two champions, and three challengers that were no better than the second."""
    began, followed = cast.since + 9 * DAY, NOW - 31 * DAY
    store(session, cast, first, 1, began)
    store(session, cast, second, 2, followed)
    move(session, cast, first.id, Outcome.PROMOTED, "the first certified bundle", 1, began)
    move(session, cast, second.id, Outcome.PROMOTED, "keeps 4.2 points more, and loses no more", 2, followed)
    for week in (3, 2, 1):
        other, at = bundle_of(cast, 2 + week), NOW - week * 7 * DAY
        store(session, cast, other, 2 + week, at, status=BundleStatus.REFUSED)
        move(session, cast, other.id, Outcome.REFUSED, "would save 0.3 points less than the champion", None, at)


def _support_pause(session: Session, cast: Cast, champion: Bundle) -> None:
    """A day's pause by a person, who later changes the declaration; and the runtimes since."""
    stopped, resumed = NOW - 24 * DAY, NOW - 23 * DAY
    why, done = "the knowledge base is being moved", "the move is done, answers were checked"
    move(session, cast, champion.id, Outcome.STOPPED, why, 3, stopped, by="ada")
    move(session, cast, champion.id, Outcome.RESUMED, done, 4, resumed, by="ada")
    assign(session, cast, champion.id, 4, resumed)
    for host in ("gateway-1", "gateway-2", "gateway-3"):
        hear(session, cast, host, champion.id, 4, NOW - timedelta(seconds=20))
    changed = replace(cascades.cascade(session, cast.name), exploration_width=0.02)
    cascades.apply_cascade(session, changed, now=NOW - 17 * DAY)


def _support_alerts(session: Session, cast: Cast) -> None:
    """One that is over, and one that somebody looks after."""
    cause = "savings fell from 33 to 3 % while nothing was kept"
    raise_alert(session, cast, Rule.SAVINGS, cause, NOW - 24 * DAY, NOW - 22 * DAY)
    cause = "questions of the slice outages grew from 4 to 31 % and mostly escalate; savings fell from 33 to 26 %"
    raise_alert(session, cast, Rule.DRIFT, cause, NOW - 4 * DAY, None, acknowledged="grace")


def _search(engine: Engine, cast: Cast) -> None:
    harm = {"drop": 0.06, "accuracy_cascade": -0.06, "accuracy_retained": -0.11}
    rang = NOW.replace(hour=14, minute=2)
    harmed = Episode(start=NOW - 9 * DAY, end=NOW, moved=harm)
    stopped = Episode(start=rang.replace(minute=0), end=NOW, moved=KEPT_NOTHING)
    slices = ("people", "places", "products")
    traffic = _traffic(cast, dear=0.04, episodes=(harmed, stopped), slices=slices, horizon=7 * DAY, seed=7)
    bundle = bundle_of(cast, 1)
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=4000, bundle=bundle.id, models=MODELS))
    with transaction(engine) as session:
        store(session, cast, bundle, 1, cast.since + 10 * DAY)
        move(session, cast, bundle.id, Outcome.PROMOTED, "the first certified bundle", 1, cast.since + 10 * DAY)
        move(session, cast, bundle.id, Outcome.STOPPED, "the risk alarm rang", 2, rang)
        assign(session, cast, bundle.id, 2, rang, mode=Mode.ESCALATE_ALL)
        hear(session, cast, "search-a", bundle.id, 2, NOW - timedelta(seconds=40))
        cause = "kept answers lose 6.8 points (4.4 to 9.2) of 3.0 allowed, since Sunday 15:00"
        raise_alert(session, cast, Rule.RISK, cause, rang, None)
        [ring] = rings.rings(session, cast.name, rings.RISK)
        answer = f"bundle {short(bundle.id)} is stopped, every query goes to the last tier"
        rings.answer_ring(session, ring, answer, now=rang, stopped=bundle.id)


def _billing(engine: Engine, cast: Cast) -> None:
    observed = Episode(start=cast.since, end=NOW, moved=KEPT_NOTHING)
    traffic, bundle = _traffic(cast, dear=0.3, seed=11, episodes=(observed,)), bundle_of(cast, 1)
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=1500, bundle=bundle.id, models=MODELS))
    with transaction(engine) as session:
        store(session, cast, bundle, 1, NOW - 1 * DAY, status=BundleStatus.CERTIFIED)
        assign(session, cast, None, 1, cast.since, mode=Mode.OBSERVE)
        hear(session, cast, "billing-0", None, 1, NOW - timedelta(seconds=11))


def _translate(engine: Engine, cast: Cast) -> None:
    observed = Episode(start=cast.since, end=NOW, moved=KEPT_NOTHING)
    traffic = _traffic(cast, seed=13, episodes=(observed,))
    add_figures(engine, traffic)
    add_decisions(engine, Asked(traffic=traffic, count=400, bundle="", models=("qwen3-4b", MODELS[1])))
    with transaction(engine) as session:
        assign(session, cast, None, 1, cast.since, mode=Mode.OBSERVE)
        hear(session, cast, "translate-0", None, 1, NOW - timedelta(seconds=30))
        cause = "412 attempts ran qwen3-4b where qwen3-8b is declared"
        raise_alert(session, cast, Rule.UNDECLARED_MODEL, cause, NOW - 30 * HOUR, None)
