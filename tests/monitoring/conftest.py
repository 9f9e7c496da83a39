"""The cast of the monitoring tests: one cascade of two tiers, and decisions with what each tier
said and cost.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from shutil import copyfile
from threading import Thread
from typing import Any

import pytest

from factories import make_decision, make_label
from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Label,
    LabelSource,
    PTKind,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.spec import Alarms, CascadeSpec, Horizons, Price, Schedule, TierSpec
from monitoring.rows.cohorts import Cohort, cohort_of
from store.engine import open_engine, transaction
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.labels import add_labels
from store.traffic.uncertified import uncertified

DAY = datetime(2026, 3, 2, tzinfo=UTC)
EVERY = timedelta(hours=6)
HORIZON = timedelta(days=2)


def spec_of(**changes: Any) -> CascadeSpec:
    """Tier `small` costs 1 USD per million tokens, `large` 10; a query has 10 tokens in and 0 out
    by default.
    """
    price = {"since": datetime(2020, 1, 1, tzinfo=UTC)}
    small = Price(usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=1.0, **price)
    large = Price(usd_per_million_tokens_in=10.0, usd_per_million_tokens_out=10.0, **price)
    fields: dict[str, Any] = {
        "name": "cities",
        "tiers": (
            TierSpec(name="small", model="small-model", parameters=1e6, prices=(small,)),
            TierSpec(name="large", model="large-model", parameters=1e7, prices=(large,)),
        ),
        "horizons": Horizons(gold=HORIZON),
        "schedule": Schedule(monitor_every=EVERY),
        "alarms": Alarms(alpha=0.1, savings_margin=0.05, max_tokens=40),
        "exploration_rate": 0.5,
    }
    return CascadeSpec(**(fields | changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query: what became of it, and what its labels say (None = no label)."""

    at: datetime = DAY
    reason: Reason | None = None  # None = retained
    explored: bool = False
    small: float | None = None  # correctness of the small tier's answer, as labelled
    large: float | None = None
    slice: str | None = None
    p_t: float | None = 0.9
    p_t_kind: PTKind | None = None  # None = as declared
    p_ik: float | None = 0.8
    score: float | None = 0.8
    ood: float | None = 0.3
    tokens: int = 10
    run_propensity: float | None = 0.5  # of the exploration
    label_propensity: float | None = 1.0
    source: LabelSource = LabelSource.GOLD
    labelled_after: timedelta = timedelta(hours=1)
    answers: tuple[str | None, str | None] = (None, None)
    bundle: str | None = None
    generation: int | None = None
    verdicts: tuple[float | None, float | None] = (None, None)  # what a grader says of either answer
    uncertified: bool = False  # the last tier alone answered it
    early: bool = False  # the reason ended the small tier before it answered; explored = it did, to learn from
    tokens_out: int = 0  # of the small tier
    took_ms: tuple[float | None, float | None] = (None, None)


def decision_of(asked: Asked, cascade: str = "cities") -> Decision:
    signals = Signals(p_t=asked.p_t, p_ik=asked.p_ik, score=asked.score, ood=asked.ood)
    if asked.uncertified:
        return _uncertified(asked, cascade)
    retained = asked.reason is None
    verdict = Verdict(action=Action.RETAIN if retained else Action.ESCALATE, reason=asked.reason)
    role, chance = Role.SERVED if retained else Role.SUPERSEDED, 1.0
    if asked.early:
        role, chance = Role.EXPLORATION if asked.explored else Role.SKIPPED, asked.run_propensity
    skipped = role is Role.SKIPPED
    attempts = [
        Attempt(
            tier=0,
            role=role,
            model="small-model",
            signals=replace(signals, p_t=None, score=None) if skipped else signals,
            p_t_kind=asked.p_t_kind,
            verdict=verdict,
            answer=None if skipped else asked.answers[0],
            run_propensity=chance,
            tokens_in=asked.tokens,
            tokens_out=0 if skipped else asked.tokens_out,
            latency_ms=asked.took_ms[0],
        )
    ]
    if not retained or asked.explored:
        attempts.append(
            Attempt(
                tier=1,
                role=Role.EXPLORATION if retained else Role.SERVED,
                model="large-model",
                answer=asked.answers[1],
                run_propensity=asked.run_propensity if retained else 1.0,
                tokens_in=asked.tokens,
                tokens_out=0,
                latency_ms=asked.took_ms[1],
            )
        )
    return make_decision(
        asked.at,
        cascade=cascade,
        attempts=tuple(attempts),
        slice=asked.slice,
        bundle=asked.bundle,
        generation=asked.generation,
        exploration_rate=0.5,
    )


def _uncertified(asked: Asked, cascade: str) -> Decision:
    attempt = Attempt(
        tier=1,
        role=Role.SERVED,
        model="large-model",
        fault=Reason.UNCERTIFIED_REQUEST,
        run_propensity=1.0,
        tokens_in=asked.tokens,
        tokens_out=0,
    )
    return make_decision(asked.at, cascade=cascade, attempts=(attempt,), slice=asked.slice, bundle=asked.bundle)


def labels_of(asked: Asked, decision: Decision) -> list[Label]:
    said = [(0, asked.small), (1, asked.large)]
    judged = [
        make_label(
            cascade=decision.cascade,
            source=LabelSource.JUDGE,
            correct=verdict,
            labelled_at=asked.at + asked.labelled_after,
            decision_id=decision.id,
            tier=tier,
            grader="judge@1",
        )
        for tier, verdict in enumerate(asked.verdicts)
        if verdict is not None
    ]
    return judged + [
        make_label(
            cascade=decision.cascade,
            source=asked.source,
            correct=correct,
            labelled_at=asked.at + asked.labelled_after,
            decision_id=decision.id,
            tier=tier,
            label_propensity=asked.label_propensity,
        )
        for tier, correct in said
        if correct is not None
    ]


def store_asked(
    session: Any, asked: Sequence[Asked], cascade: str = "cities", *, received_at: datetime | None = None
) -> list[Decision]:
    """Through the real store, by the hour: each decision at the end of the hour it was made in,
    each label likewise.

    With `received_at` all come then.
    """
    decisions = [decision_of(one, cascade) for one in asked]
    for _, batch in _by_hour(decisions, lambda decision: decision.occurred_at):
        add_decisions(session, batch, received_at=received_at or max(decision.occurred_at for decision in batch))
    labels = [label for one, decision in zip(asked, decisions, strict=True) for label in labels_of(one, decision)]
    for _, batch in _by_hour(labels, lambda label: label.labelled_at):
        add_labels(session, batch, received_at=received_at or max(label.labelled_at for label in batch))
    return decisions


def _by_hour(records: Sequence[Any], time: Callable[[Any], datetime]) -> list[tuple[datetime, list[Any]]]:
    def hour(record: Any) -> datetime:
        return time(record).replace(minute=0, second=0, microsecond=0)

    return [(key, list(group)) for key, group in groupby(sorted(records, key=hour), key=hour)]


@pytest.fixture(scope="session")
def cast() -> Any:
    """The names above, for tests: `cast.Asked(...)`, `cast.spec_of(...)`, `cast.DAY`."""

    class Cast:
        pass

    holder = Cast()
    for name in ("Asked", "spec_of", "decision_of", "labels_of", "store_asked", "DAY", "EVERY", "HORIZON"):
        setattr(holder, name, globals()[name])
    return holder


@pytest.fixture
def cohort(tmp_path: Path, sqlite_template: Path) -> Callable[..., Cohort]:
    """Makes a cohort of queries by way of a store of its own: `cohort([Asked(...), …], as_of=…)`.

    `judged` takes gold and human labels for the truth, and a grader's for forecasts.
    """

    def make(
        asked: Sequence[Asked],
        *,
        day: int = 0,
        as_of: datetime = DAY + timedelta(days=30),
        judged: bool = False,
        **changes: Any,
    ) -> Cohort:
        path = tmp_path / f"cohort-{len(list(tmp_path.iterdir()))}.db"
        copyfile(sqlite_template, path)
        engine = open_engine(f"sqlite:///{path}")
        spec = spec_of(**changes)
        window = Window(start=DAY + timedelta(days=day), end=DAY + timedelta(days=day + 1))
        with transaction(engine) as session:
            apply_cascade(session, spec, now=DAY - timedelta(days=1))
            store_asked(session, asked)
        with transaction(engine) as session:
            trusted = spec.targets.trusted if judged else tuple(LabelSource)
            examples = labelled(session, spec.name, window, as_of=as_of, trusted=trusted)
            outside = uncertified(session, spec.name, window, as_of=as_of)
        engine.dispose()
        return cohort_of(examples, spec, window, as_of=as_of, uncertified=outside)

    return make


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append((dict(self.headers.items()), body))
        status = server.answers.pop(0) if server.answers else 200
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Any]:
    """A webhook receiver on loopback: `.url`, `.received` (headers, body), `.answers` (statuses to
    give first).
    """
    with _running() as server:
        yield server


@contextmanager
def _running() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    server.received, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
