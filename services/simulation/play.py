"""Playing traffic on a stage: serve, ship, label, let time pass.

Per block of time:
1. every query goes through the cascade as a serving process would take it, exploration included;
2. decisions are shipped, and the labels that are due are sent;
3. the clock moves, the jobs look for work, the runtime for a new assignment.
What every tier would have answered is known here, so accuracy and savings are counted and not
estimated.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from knowgate import Action, Label, LabelSource, Observation, Query, new_id
from knowgate.spec import CascadeSpec
from services.pages.report import Event
from services.simulation.happened import happened
from services.simulation.stage import Stage
from services.simulation.traffic import Answer, Answering, Asked, Labelling, steps
from store.engine import reading


@dataclass(slots=True)
class Truth:
    """What really happened, counted as it happens."""

    queries: int = 0
    retained: int = 0  # served by a tier that is not the last
    right_cascade: float = 0.0
    right_last: float = 0.0
    right_first: float = 0.0
    cost_usd: float = 0.0
    cost_usd_last: float = 0.0
    exploration_usd: float = 0.0
    gflops: float = 0.0
    gflops_last: float = 0.0

    def __add__(self, other: "Truth") -> "Truth":
        return Truth(**{name: getattr(self, name) + getattr(other, name) for name in Truth.__slots__})

    def share(self, counted: float) -> float:
        return counted / self.queries if self.queries else 0.0


@dataclass(slots=True)
class Played:
    """The truth of a whole run, and of each stretch of it."""

    total: Truth = field(default_factory=Truth)
    blocks: list[tuple[datetime, Truth]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)  # earliest first
    labels: int = 0
    late_labels: int = 0  # came after the label horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a caller gets after each block."""

    at: datetime
    truth: Truth
    events: tuple[Event, ...]  # that happened in this block


class Player:
    """Plays traffic on a stage; may be called again with more of it."""

    def __init__(self, stage: Stage, answering: Answering, labelling: Labelling, *, seed: int) -> None:
        self.stage = stage
        self.played = Played()
        self._answering = answering
        self._labelling = labelling
        self._rng = np.random.default_rng(seed)
        self._ids = random.Random(seed)
        self._waiting: list[tuple[datetime, int, Label]] = []
        self._numbers = 0

    def play(
        self, queries: Sequence[Asked], *, every: timedelta, report: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """Play `queries`, which are in order of time, in blocks of `every`."""
        for end, block in steps(queries, every):
            self._block(end, block, report)

    def wait(self, until: datetime, *, every: timedelta, report: Callable[[Progress], None] = lambda _: None) -> None:
        """Let time pass without traffic: labels come in, jobs run."""
        end = self.stage.clock.now()
        while end < until:
            end = min(end + every, until)
            self._block(end, [], report)

    def _block(self, end: datetime, block: Sequence[Asked], report: Callable[[Progress], None]) -> None:
        truth = Truth()
        for asked in block:
            self.stage.clock.set(asked.at)
            self._serve(asked, truth)
        self.stage.ship()
        self.stage.clock.set(end)  # a label is refused before its time has come
        self.stage.label(self._due(end))
        self.stage.advance(end)
        events = self._happened()
        self.played.total += truth
        self.played.blocks.append((end, truth))
        self.played.events += events
        report(Progress(at=end, truth=truth, events=events))

    def _happened(self) -> tuple[Event, ...]:
        """What was not there at the block before."""
        with reading(self.stage.engine) as session:
            known = set(self.played.events)
            return tuple(event for event in happened(session, self.stage.spec.name) if event not in known)

    def _serve(self, asked: Asked, truth: Truth) -> None:
        decision_id = new_id(asked.at, randomness=self._ids.getrandbits(80))
        last = self.stage.spec.last
        ran: dict[int, Answer] = {}
        ended: dict[int, Answer] = {}  # what a gate ended before it was said, or let be said to learn from
        with self.stage.cascade.open(
            prompt=asked.prompt, external_id=asked.name, slice=asked.slice, decision_id=decision_id, now=asked.at
        ) as query:
            for tier in range(query.next_tier, last + 1):
                answer = self._answering.answer(asked, tier)
                if self.stage.spec.tiers[tier].early and query.judges_early(tier):
                    before = query.consider(_of_prompt(answer), tier=tier)
                    if before.verdict.action is Action.ESCALATE:
                        ended[tier] = answer
                    if not before.answers:
                        continue
                ran[tier] = answer
                if query.attempt(answer, tier=tier).retained:
                    break
            while query.explore:
                beside = query.next_tier
                ran[beside] = self._answering.answer(asked, beside)
                query.attempt(ran[beside], tier=beside)
        self._count(truth, asked, ran, ended, served=tier)
        if self._rng.random() < self._labelling.share:
            for each, answer in ran.items():
                self._label_later(asked, query, each, answer)

    def _label_later(self, asked: Asked, query: Query, tier: int, answer: Answer) -> None:
        at = asked.at + self._labelling.delay(self._rng)
        self.played.late_labels += at > asked.at + self.stage.spec.horizon
        label = Label(
            cascade=self.stage.spec.name,
            source=LabelSource.GOLD,
            correct=answer.correct,
            labelled_at=at,
            decision_id=query.decision_id,
            tier=tier,
            label_propensity=self._labelling.share,
        )
        self._numbers += 1
        heapq.heappush(self._waiting, (at, self._numbers, label))

    def _due(self, until: datetime) -> list[Label]:
        due: list[Label] = []
        while self._waiting and self._waiting[0][0] <= until:
            due.append(heapq.heappop(self._waiting)[2])
        self.played.labels += len(due)
        return due

    def _count(
        self, truth: Truth, asked: Asked, ran: dict[int, Answer], ended: dict[int, Answer], *, served: int
    ) -> None:
        spec, last = self.stage.spec, self.stage.spec.last
        large = ran[last] if last in ran else self._answering.answer(asked, last)
        truth.queries += 1
        truth.retained += served < last
        truth.right_cascade += ran[served].correct
        truth.right_last += large.correct
        first = (ran | ended).get(0) or self._answering.answer(asked, 0)
        truth.right_first += first.correct
        beside = 0 not in ended and next(iter(ran)) == last  # nobody waited for the others
        for tier, answer in ran.items():
            explored = tier > served or tier in ended or (beside and tier < served)
            usd, gflops = _cost(spec, tier, answer, asked.at)
            truth.exploration_usd += usd if explored else 0.0
            truth.cost_usd += 0.0 if explored else usd
            truth.gflops += 0.0 if explored else gflops
        for tier, answer in ended.items():
            usd, gflops = _cost(spec, tier, replace(answer, tokens_out=0), asked.at)
            truth.exploration_usd -= usd if tier in ran else 0.0  # it was read to decide
            truth.cost_usd += usd
            truth.gflops += gflops
        usd, gflops = _cost(spec, last, large, asked.at)
        truth.cost_usd_last += usd
        truth.gflops_last += gflops


def _cost(spec: CascadeSpec, tier: int, answer: Answer, at: datetime) -> tuple[float, float]:
    tokens_in, tokens_out = answer.tokens_in or 0, answer.tokens_out or 0
    price = spec.tiers[tier].price_at(at)
    usd = answer.cost_usd
    if usd is None:
        usd = 0.0 if price is None else price.cost_usd(tokens_in, tokens_out)
    return usd, spec.tiers[tier].gflops(tokens_in + tokens_out)


def _of_prompt(answer: Answer) -> Observation:
    """What a tier shows before it answers."""
    return Observation(hidden=answer.hidden, fingerprint=answer.fingerprint, tokens_in=answer.tokens_in, tokens_out=0)
