"""A small deployment with something in every table, made by the functions that a real one is made
by.

A cascade in two versions, decisions and labels (by id, by the user's own id, of a grader, waiting,
parked), vectors, bundles that are certified, signed, promoted and refused, a rollback, alerts with
messages, figures, job runs, tokens, an erasure; four seals, after the last of which the signed head
leaves the database, and a few rows after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks.shape import FINGERPRINT
from benchmarks.tampering.rows import fill_the_rest
from knowgate import (
    Attempt,
    BundleDocument,
    Decision,
    Label,
    LabelSource,
    Policy,
    PolicyKind,
    Role,
    Signals,
    Window,
    decide,
    new_id,
    write_bundle,
)
from knowgate._wire import codec
from knowgate.spec import CascadeSpec, Price, Privacy, TierSpec
from services.audit.heads import Head, head_of
from services.clock import SimulatedClock
from services.days.writing import write_day
from services.jobs.job import JobContext
from services.jobs.sums import count_labels, sum_figures
from services.promotion import generations, ring_answers, rollout
from services.promotion.rollout_state import Why
from services.settings import Settings
from store import tokens
from store.engine import reading, transaction
from store.jobs import job_runs, job_ticks, outbox
from store.labelling import graders
from store.ledger import erasure, ledger
from store.ledger.ledger import seal_all
from store.releases import assignments, bundles, cascades, certifications
from store.releases.bundles import BundleStatus
from store.shards.shards import write_shard
from store.traffic import decisions, labels, vectors
from store.watching import alarm_states, alerts, deliveries, drift_reports, figures

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAME = "facts"
JUDGE = "judge@1"
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What was made."""

    engine: Engine
    settings: Settings
    rng: np.random.Generator
    spec: CascadeSpec

    def at(self, hours: float) -> datetime:
        return START + timedelta(hours=hours)


def build(engine: Engine, settings: Settings, *, decided: int = 40, seed: int = 7) -> Head:
    """Fill an empty, migrated database; the head that was exported after the last seal."""
    made = Deployment(engine=engine, settings=settings, rng=np.random.default_rng(seed), spec=_spec())
    with transaction(engine) as session:
        cascades.apply_cascade(session, made.spec, now=made.at(-2))
        generations.declare(session, made.spec, settings, now=made.at(-2))
        newer = replace(made.spec, exploration_rate=0.1)
        cascades.apply_cascade(session, newer, now=made.at(-1))
        generations.declare(session, newer, settings, now=made.at(-1))
        other = replace(made.spec, name="other")
        cascades.apply_cascade(session, other, now=made.at(-1))
        generations.declare(session, other, settings, now=made.at(-1))
    sent = _traffic(made, decided)
    _seal(made, 2)
    _certified(made)
    _watched(made)
    _seal(made, 4)
    with transaction(engine) as session:
        erasure.erase_decision(session, sent[0].id, by="ada", now=made.at(5))
        erasure.erase_decision(session, sent[1].id, by="ada", now=made.at(5))
    _written(made)
    _summed(made)
    with transaction(engine) as session:
        fill_the_rest(session)
    _seal(made, 6)
    with transaction(engine) as session:
        decisions.add_decisions(session, [_decision(made, count) for count in (70, 71, 72)], received_at=made.at(7))
    _seal(made, 8)
    with transaction(engine) as session:  # what the next seal would hold
        decisions.add_decisions(session, [_decision(made, count) for count in (80, 81)], received_at=made.at(9))
        record = alerts.AlertRecord(
            cascade=NAME, rule="undeclared_model", cause="another one", details="{}", opened_at=made.at(9)
        )
        alerts.open_alert(session, record)
    with reading(engine) as session:
        return head_of(ledger.batch_hashes(session), settings.signing_key)


def _written(made: Deployment) -> None:
    """Two ranges of decisions in files of their own."""
    for first in (0, 20):
        part = Window(start=made.at(first / 60), end=made.at((first + 20) / 60))
        write_day(made.engine, NAME, part, made.settings.shards_url, now=made.at(5))


def _summed(made: Deployment) -> None:
    """What pages of a long time read."""
    context = JobContext(
        engine=made.engine, settings=made.settings, clock=SimulatedClock(START + timedelta(days=20)), owner="one"
    )
    sum_figures(context, lambda _: None)
    count_labels(context, lambda _: None)


def _spec() -> CascadeSpec:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    price = Price(since=since, usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=2.0)
    tiers = (
        TierSpec(name="small", model="small", parameters=1e9, prices=(price,)),
        TierSpec(name="large", model="large", parameters=1e10, prices=(price,)),
    )
    return CascadeSpec(name=NAME, tiers=tiers, privacy=Privacy.FULL, webhooks=("https://alerts.example/hook",))


def _traffic(made: Deployment, count: int) -> Sequence[Decision]:
    sent = [_decision(made, index) for index in range(count)]
    early = [_label(made, sent[2], 0.5), _label(made, sent[3], 0.5, external=True)]
    parked = Label(
        cascade=NAME, source=LabelSource.HUMAN, correct=1.0, labelled_at=made.at(-20), external_id=sent[4].external_id
    )
    with transaction(made.engine) as session:
        labels.add_labels(session, [*early, parked], received_at=made.at(0.6))
        half = count // 2
        decisions.add_decisions(session, sent[:half], received_at=made.at(1))
        decisions.add_decisions(session, sent[half:], received_at=made.at(1.1))
        said = [_label(made, one, 1.2, external=index % 3 == 0) for index, one in enumerate(sent[5:], start=5)]
        said += [_label(made, one, 1.3, judge=True) for one in sent[5:15]]
        waiting = [replace(_label(made, sent[5], 1.2), decision_id=None, external_id=f"late-{i}") for i in range(3)]
        labels.add_labels(session, [*said, *waiting], received_at=made.at(1.5))
        _measure_grader(made, session)
        _store_vectors(made, session, sent[:12])
        _store_vectors(made, session, sent[12:20])
    return sent


def _measure_grader(made: Deployment, session: Session) -> None:
    window = Window(start=made.at(0), end=made.at(1))
    for hours, wrong in ((1.6, 4), (1.7, 5)):
        graders.add_error(
            session,
            NAME,
            graders.GraderError(
                grader=JUDGE,
                measured_at=made.at(hours),
                window=window,
                wrong=wrong,
                wrong_called_right=1,
                right=6,
                right_called_wrong=2,
            ),
        )
    labels.add_labels(session, [replace(_label(made, "q9", 1.7), grader="judge@2")], received_at=made.at(1.8))


def _decision(made: Deployment, index: int) -> Decision:
    when = made.at(index / 60)
    signals = Signals(
        p_t=float(made.rng.uniform(0.2, 1.0)), p_ik=float(made.rng.uniform()), ood=float(made.rng.uniform())
    )
    verdict = decide(Policy.of(PolicyKind.P_T, ({"p_t": 0.6},)), signals)
    kept = verdict.retained
    small = Attempt(
        tier=0,
        role=Role.SERVED if kept else Role.SUPERSEDED,
        model="small",
        signals=signals,
        verdict=verdict,
        fingerprint=FINGERPRINT if index % 4 else replace(FINGERPRINT, layer=12),
        entropy=0.4,
        margin=0.3,
        answer=f"answer {index}",
        run_propensity=1.0,
        tokens_in=100 + index,
        tokens_out=1,
        latency_ms=12.5,
    )
    large = Attempt(
        tier=1, role=Role.EXPLORATION if kept else Role.SERVED, model="large", answer=f"large {index}",
        run_propensity=0.1 if kept else 1.0, tokens_in=100, tokens_out=2, latency_ms=80.0, cost_usd=0.001,
    )  # fmt: skip
    return Decision(
        id=new_id(when),
        cascade=NAME,
        occurred_at=when,
        attempts=(small, large),
        external_id=f"q{index}",
        slice="geography" if index % 2 else "history",
        prompt=f"question {index}",
        prompt_hash=f"{index:064x}",
        generation=2,
        exploration_rate=0.1,
    )


def _label(made: Deployment, of: Decision | str, hours: float, *, external: bool = False, judge: bool = False) -> Label:
    named = of if isinstance(of, str) else of.external_id
    by_id = not external and isinstance(of, Decision)
    return Label(
        cascade=NAME,
        source=LabelSource.JUDGE if judge else LabelSource.GOLD,
        correct=float(made.rng.integers(0, 2)),
        labelled_at=made.at(hours),
        decision_id=of.id if by_id and isinstance(of, Decision) else None,
        external_id=None if by_id else named,
        tier=0 if judge else None,
        label_propensity=0.5,
        grader=JUDGE if judge else None,
    )


def _store_vectors(made: Deployment, session: Session, some: Sequence[Decision]) -> None:
    same = [one for one in some if one.attempts[0].fingerprint == FINGERPRINT]
    hidden = made.rng.normal(size=(len(same), 4)).astype(np.float16)
    vectors.hold_files(session)
    shard = write_shard(made.settings.shards_url, hidden, [f"{one.id}/0" for one in same], fingerprint=FINGERPRINT)
    rows = [
        vectors.VectorRow(decision_id=one.id, tier=0, row=at, sha256=shard.row_sha256[at])
        for at, one in enumerate(same)
    ]
    vectors.add_shard(
        session, NAME, shard.url, shard.sha256, rows, dimension=4, now=made.at(1.5), fingerprint=FINGERPRINT
    )


def _certified(made: Deployment) -> None:
    with transaction(made.engine) as session:
        for attempt, threshold in enumerate((0.6, 0.7, 0.8), start=1):
            bundle = write_bundle(
                BundleDocument(
                    cascade=NAME,
                    models=("small", "large"),
                    tiers=(None,),
                    policy=Policy.of(PolicyKind.P_T, ({"p_t": threshold},)),
                    code_version="1",
                    created_at=made.at(2),
                ),
                (None,),
            )
            document = codec.canonical(bundle.document)
            bundles.add_bundle(session, bundle.id, NAME, document, bundle.content, BundleStatus.CERTIFIED, made.at(2))
            _certification(made, session, attempt, bundle.id)
            why = Why(reason="it keeps the promise", check={"attempt": attempt})
            current = assignments.assignment(session, NAME)
            assert current is not None
            if attempt == 2:
                generations.refuse(session, current, bundle.id, why, now=made.at(2.2))
            else:
                rollout.promote(session, current, bundle.id, made.settings, why, now=made.at(2 + attempt / 10))
        current = ring_answers.in_force(session, NAME, made.settings, now=made.at(2.5))
        rollout.roll_back(session, current, made.settings, Why(reason="a person asked"), now=made.at(2.5))
        for runtime in ("a/1", "b/2"):
            last = assignments.RuntimeState(
                cascade=NAME, runtime=runtime, generation=2, bundle=None, accepted=True, detail=None, at=made.at(2.5)
            )
            assignments.add_acknowledgement(session, last)
            assignments.add_acknowledgement(session, replace(last, generation=4, bundle="b" * 64, at=made.at(2.6)))


def _certification(made: Deployment, session: Session, attempt: int, bundle: str) -> None:
    certifications.add_certification(
        session,
        certifications.CertificationRecord(
            cascade=NAME,
            attempt=attempt,
            window=Window(start=made.at(0), end=made.at(1)),
            status="certified",
            target_kind="accuracy_drop",
            target_value=0.05,
            delta_family=0.1,
            delta_spent=0.06 / attempt**2,
            n=500 + attempt,
            document='{"test":"exact","n":500}',
            decided_at=made.at(2),
            bundle=bundle,
        ),
    )


def _watched(made: Deployment) -> None:
    window = Window(start=made.at(0), end=made.at(1))
    with transaction(made.engine) as session:
        for rule in ("risk", "savings"):
            record = alerts.AlertRecord(
                cascade=NAME, rule=rule, cause=f"{rule} fell", details='{"drop":0.07}', opened_at=made.at(3)
            )
            opened = alerts.open_alert(session, record)
            deliveries.add_delivery(session, opened, made.spec.webhooks[0], "opened", _message, now=made.at(3))
            alarm_states.put_alarm_state(session, NAME, rule, '{"wealth":1.5}', now=made.at(3))
            alarm_states.put_alarm_state(session, NAME, rule, '{"wealth":2.5}', now=made.at(3.1))
            report = drift_reports.DriftReport(
                cascade=NAME, window=window, tier=0, name=rule, document='{"share":0.2}', computed_at=made.at(3)
            )
            drift_reports.put_report(session, report)
        alerts.resolve_alert(session, NAME, "savings", resolution="it rose again", now=made.at(3.2))
        rows = [
            _figure(made, window, name, mature)
            for name in ("queries", "savings", "accuracy")
            for mature in (False, True)
        ]
        figures.put_figures(session, rows)
        figures.put_figures(session, [replace(rows[0], value=0.75, computed_at=made.at(3.3))])
        for job in ("monitor", "train", "seal"):
            claim = job_runs.claim(session, job, NAME, window, owner="one", lease=HOUR, now=made.at(3))
            assert claim is not None
            job_runs.heartbeat(session, claim, lease=HOUR, now=made.at(3.1))
            if job != "train":
                job_runs.finish(session, claim, "done", now=made.at(3.2))
        for job, error in (("monitor", None), ("train", "it failed")):
            job_ticks.put_tick(session, job, owner="one", now=made.at(3), error=error)
        for key in ("one", "two"):
            outbox.add_message(session, "mlflow", key, '{"bundle":"b"}', now=made.at(3))
            text = tokens.create_token(session, key, tokens.TokenRole.READ, made.at(3))
            found = tokens.find_token(session, text)
            assert found is not None
            tokens.note_use(session, found, now=made.at(3.1))
        tokens.revoke_token(session, "two", now=made.at(3.2))
        claimed = deliveries.claim_due_deliveries(session, owner="one", now=made.at(3.1), lease=HOUR)
        deliveries.finish_delivery(session, claimed[0], now=made.at(3.2))
        deliveries.finish_delivery(session, claimed[1], now=made.at(3.2), error="no answer")


def _message(number: int) -> str:
    return f'{{"event":"opened","number":{number}}}'


def _figure(made: Deployment, window: Window, name: str, mature: bool) -> figures.FigureRow:
    return figures.FigureRow(
        cascade=NAME,
        window=window,
        name=name,
        n=40,
        mature=mature,
        computed_at=made.at(3),
        value=0.5,
        low=0.4,
        high=0.6,
    )


def _seal(made: Deployment, hours: float) -> None:
    with transaction(made.engine) as session:
        seal_all(session, now=made.at(hours))
