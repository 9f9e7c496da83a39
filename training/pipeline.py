"""One window, from labelled decisions to a published bundle.

Decisions:
- Only mature decisions count: those for which every label that is waited for has had its horizon by
  `as_of`.
- A cascade some of whose non-last tiers have no models of their own is certified with p_t: a rule
  needs its signals at every tier, and p_t needs none.
- An attempt has the δ of what is promised: the whole of it where each week has its own thresholds
  (`rolling`), its share where no week of a season may be broken (`season`).
- P(T) is of one kind per tier, the cascade's: the bundle names it, and a runtime that is sent
  another escalates.
- Which rows certify is decided by time, by prompt and by how many count, before anything is learned
  (`training.certification.window`).
- Probes start from nothing unless `warm_start` is set. A former probe may have learned from prompts
  that certify now; linear probes end at the same optimum within their tolerance wherever they
  start, and that much is what it may tell.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from evidence.bounds.spending import delta_by_promise
from evidence.certification.nested_path import Signals
from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import Bundle, ComparisonDocument, TierModels, read_bundle
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, PromiseKind, Targets
from store.engine import reading
from store.jobs.job_runs import Claim
from store.jobs.trainer_reports import TrainingOutcome
from store.releases.assignments import assignment
from store.releases.bundles import bundle_content
from store.releases.cascades import cascade as read_cascade
from store.releases.certifications import next_attempt
from store.releases.rings import RISK, rings
from training.certification.certify import Certified, certify_kind, outlook_on
from training.certification.compare import compare_with_champion
from training.certification.window import Periods
from training.extraction import Answerer
from training.heartbeat import kept_alive
from training.probes.fit import FitProbe, fit_probe
from training.probes.probe_settings import FitSettings
from training.publishing.attempt import Attempt, end_unattempted, end_without_data, publish_attempt
from training.rows.dataset import CascadeRows, TierVectors, extracted_vectors, read_window, stored_vectors
from training.rows.own_states import scratch_folder
from training.rows.splits import Proportions, Split, certifying, split_rows
from training.tiers.learn import LearnedTier, learn_tier, signal_columns

log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a window is trained."""

    fit: FitSettings = field(default_factory=FitSettings)
    proportions: Proportions = field(default_factory=Proportions)
    lease: timedelta = timedelta(minutes=5)  # of the claim, renewed while the run works
    warm_start: bool = False  # linear probes start from the champion's, at the layer whose fingerprint is the same


def _now() -> datetime:
    return datetime.now(UTC)


def train_window(
    engine: Engine,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    claim: Claim | None = None,
    settings: TrainingSettings | None = None,
    answerers: Mapping[int, Answerer] | None = None,
    clock: Callable[[], datetime] = _now,
    fit: FitProbe = fit_probe,
) -> TrainingOutcome:
    """Train, certify and publish one window of decision time, with the labels known at `as_of`.

    `claim` is ended in the publishing transaction; `answerers` are models, by tier, that are asked
    again for the states of all their layers, or encoders that read in their stead; both need
    prompts stored in full. `fit` is what fits the probes, here or on a cluster. Raises
    store.errors.ClaimLost where another trainer has taken the window over, CascadeUnknown for a
    cascade that was not applied.
    """
    settings = settings or TrainingSettings()
    with kept_alive(engine, claim, lease=settings.lease, clock=clock), scratch_folder() as folder:
        state = _read_state(engine, cascade)
        spec, targets = state.spec, state.spec.targets
        mature = _mature(window, as_of, spec)
        rows = None if mature is None else _read_rows(engine, spec, mature, as_of)
        if mature is None or rows is None or rows.n == 0:
            return end_without_data(engine, claim, cascade, rows, clock)
        vectors = [_vectors(rows, tier, answerers or {}, folder) for tier in range(spec.last)]
        periods = Periods(read=mature, every=spec.schedule.train_every, alarm=state.alarm)
        learned = _learn(rows, vectors, periods, settings, state, fit)
        delta = delta_by_promise(targets.delta, state.attempt, targets.promise)
        if state.decides and targets.promise is PromiseKind.ROLLING:
            outlook = outlook_on(rows, learned.split, learned.signals, targets, kind=learned.kind, delta=delta)
            if not outlook.made:
                return end_unattempted(engine, claim, cascade, rows, outlook.labels_needed, clock)
        certified = certify_kind(rows, learned.split, learned.signals, targets, kind=learned.kind, delta=delta)
        if certified is None:
            return end_without_data(engine, claim, cascade, rows, clock)
        attempt = Attempt(
            spec=spec,
            number=state.attempt,
            delta=delta,
            as_of=as_of,
            read=mature,
            rows=rows,
            split=learned.split,
            signals=learned.signals,
            learned=learned.tiers,
            certified=certified,
            champion=state.champion,
            comparison=_compare(rows, vectors, certified, state.champion, targets),
        )
        return publish_attempt(engine, attempt, settings.fit, claim=claim, now=clock())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learned:
    """What a window taught."""

    split: Split
    tiers: tuple[LearnedTier | None, ...]
    signals: tuple[Signals, ...]  # of all rows, per non-last tier
    kind: PolicyKind  # that can be certified with it


def _learn(
    rows: CascadeRows,
    vectors: Sequence[TierVectors | None],
    periods: Periods,
    settings: TrainingSettings,
    state: "_State",
    fit: FitProbe,
) -> _Learned:
    last, targets = state.spec.last, state.spec.targets
    which = certifying(rows.ids, rows.prompt_hashes, settings.proportions)
    since = periods.certifying(rows, which)
    split = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, settings.proportions, since=since)
    former = _former(state.champion, last) if settings.warm_start else [None] * last
    tiers = tuple(
        learn_tier(rows, split, tier, vectors[tier], settings.fit, former[tier], fit=fit) for tier in range(last)
    )
    kind = _kind(targets, tiers)
    if kind is PolicyKind.P_T:  # it learns nothing, so every prompt certifies, and fewer periods may do
        split = replace(split, since=periods.certifying(rows, np.ones(rows.n, dtype=np.bool_)))
    signals = tuple(_signals(rows, tier, one, vectors[tier]) for tier, one in enumerate(tiers))
    return _Learned(split=split, tiers=tiers, signals=signals, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """What a training finds in the store."""

    spec: CascadeSpec
    attempt: int  # that comes next
    champion: Bundle | None
    decides: bool  # the champion is in force
    alarm: datetime | None  # decisions before it were seen by the last risk alarm


def _read_state(engine: Engine, cascade: str) -> _State:
    with reading(engine) as session:
        spec, attempt = read_cascade(session, cascade), next_attempt(session, cascade)
        rung, in_force = rings(session, cascade, RISK), assignment(session, cascade)
        alarm = rung[-1].read_until if rung else None
        champion, decides = None, False
        if in_force is not None and in_force.champion is not None:
            content = bundle_content(session, in_force.champion)
            champion = read_bundle(content, expected_id=in_force.champion)
            decides = in_force.mode is Mode.ACTIVE
        return _State(spec=spec, attempt=attempt, champion=champion, decides=decides, alarm=alarm)


def _compare(
    rows: CascadeRows,
    vectors: Sequence[TierVectors | None],
    certified: Certified,
    champion: Bundle | None,
    targets: Targets,
) -> ComparisonDocument | None:
    """The paired comparison that the promotion check judges; None where there is nothing to
    compare.
    """
    if champion is None or not certified.certified or len(champion.tiers) != len(vectors):
        return None
    return compare_with_champion(rows, vectors, certified, champion, targets)


def _read_rows(engine: Engine, spec: CascadeSpec, window: Window, as_of: datetime) -> CascadeRows:
    rows = read_window(engine, spec, window, as_of=as_of)
    if rows.of_another_kind:
        log.warning("%s: %d decisions left out, their P(T) is of another kind", spec.name, rows.of_another_kind)
    if rows.undeclared:
        log.warning("%s: %d decisions ran undeclared models and teach nothing", spec.name, rows.undeclared)
    return rows


def _former(champion: Bundle | None, tiers: int) -> list[TierModels | None]:
    """The champion's models by tier; none where it is of another chain."""
    return list(champion.tiers) if champion is not None and len(champion.tiers) == tiers else [None] * tiers


def _mature(window: Window, as_of: datetime, spec: CascadeSpec) -> Window | None:
    """The part of the window whose labels have all had their horizon; None where there is none."""
    end = min(window.end, as_of - spec.horizon)
    return None if end <= window.start else Window(start=window.start, end=end)


def _vectors(rows: CascadeRows, tier: int, answerers: Mapping[int, Answerer], folder: Path) -> TierVectors | None:
    if tier in answerers:
        extracted = extracted_vectors(rows, tier, answerers[tier], folder)
        if extracted is not None:
            return extracted
    return stored_vectors(rows, tier)


def _signals(rows: CascadeRows, tier: int, learned: LearnedTier | None, vectors: TierVectors | None) -> Signals:
    if learned is None:
        return signal_columns(rows, tier, None, None)
    return signal_columns(rows, tier, learned.models, vectors, learned.fitted.layer)


def _kind(targets: Targets, learned: Sequence[LearnedTier | None]) -> PolicyKind:
    """The configured rule where every tier has its signals, else p_t."""
    for one in learned:
        if one is None or (targets.rule is PolicyKind.SCORE and one.models.document.score_model is None):
            return PolicyKind.P_T
    return targets.rule
