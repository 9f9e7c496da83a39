"""The cast of the store's tests: one cascade of two tiers, and makers of its decisions
and labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from factories import make_fingerprint
from knowgate._records.ids import new_id
from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Fingerprint,
    GateOutcome,
    Label,
    LabelSource,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.spec import CascadeSpec, Price, Privacy, TierSpec
from store.engine import transaction
from store.releases.cascades import apply_cascade

START = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Makers of records about the cascade `geo`; times are given in minutes from `start`."""

    start: datetime
    spec: CascadeSpec

    def at(self, minutes: float) -> datetime:
        return self.start + timedelta(minutes=minutes)

    def window(self, first: float = 0, last: float = 24 * 60) -> Window:
        return Window(start=self.at(first), end=self.at(last))

    def retained(self, minutes: float = 0, *, cascade: str = "geo", **fields: object) -> Decision:
        """A decision that the small tier's answer served, explored at the large one."""
        occurred_at = self.at(minutes)
        small = Attempt(
            tier=0,
            role=Role.SERVED,
            model="small",
            signals=Signals(p_t=0.1 + 0.2, p_ik=0.9, score=0.93, ood=0.4),
            verdict=Verdict(
                action=Action.RETAIN,
                reason=None,
                gates=(GateOutcome(gate=Reason.P_T, value=0.1 + 0.2, threshold=0.25, passed=True),),
            ),
            fingerprint=fingerprint(),
            entropy=0.7,
            answer="France",
            run_propensity=1.0,
            tokens_in=100,
            tokens_out=2,
            latency_ms=12.5,
            vector=3,
        )
        large = Attempt(
            tier=1, role=Role.EXPLORATION, model="large", answer="France", run_propensity=0.05, cost_usd=0.5
        )
        given = {"external_id": None, "slice": "cities", "prompt": "Paris lies in", "prompt_hash": "aa11"} | fields
        return Decision(
            id=new_id(occurred_at),
            cascade=cascade,
            occurred_at=occurred_at,
            attempts=(small, large),
            generation=4,
            bundle="b" * 64,
            exploration_rate=0.05,
            **given,  # type: ignore[arg-type]
        )

    def escalated(self, minutes: float = 0, **fields: object) -> Decision:
        """A decision that the large tier's answer served."""
        occurred_at = self.at(minutes)
        small = Attempt(
            tier=0,
            role=Role.SUPERSEDED,
            model="small",
            signals=Signals(p_t=0.2),
            verdict=Verdict(action=Action.ESCALATE, reason=Reason.P_T),
        )
        large = Attempt(tier=1, role=Role.SERVED, model="large")
        return Decision(
            id=new_id(occurred_at),
            cascade="geo",
            occurred_at=occurred_at,
            attempts=(small, large),
            **fields,  # type: ignore[arg-type]
        )

    def label(self, of: Decision | str, minutes: float = 60, **fields: object) -> Label:
        """A label of a decision by its id, or by an external id."""
        named = {"external_id": of} if isinstance(of, str) else {"decision_id": of.id}
        given = {"cascade": "geo", "source": LabelSource.GOLD, "correct": 1.0} | named | fields
        return Label(labelled_at=self.at(minutes), **given)  # type: ignore[arg-type]


def fingerprint() -> Fingerprint:
    return make_fingerprint(dtype="float32")


@pytest.fixture
def cast() -> Cast:
    price = Price(since=datetime(2026, 1, 1, tzinfo=UTC), usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=2.0)
    tiers = (
        TierSpec(name="small", model="small", parameters=1e6, prices=(price,)),
        TierSpec(name="large", model="large", parameters=1e8, prices=(price,)),
    )
    return Cast(start=START, spec=CascadeSpec(name="geo", tiers=tiers, privacy=Privacy.FULL))


@pytest.fixture
def geo(engine: Engine, cast: Cast) -> Engine:
    """A database in which the cascade `geo` is declared."""
    with transaction(engine) as session:
        apply_cascade(session, cast.spec, now=cast.at(-60))
    return engine


@pytest.fixture
def session(geo: Engine) -> Iterator[Session]:
    """A writing transaction on the database with `geo`, rolled back at the end."""
    with Session(geo, expire_on_commit=False) as opened:
        yield opened
