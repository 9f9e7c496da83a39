"""One run over a window: what it finds in the store, the rows it reads, and what they teach."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from evidence.certification.nested_path import Signals, signals_of_rows
from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import Bundle, ComparisonDocument, TierModels, read_bundle
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, Targets
from store.engine import reading
from store.jobs.asked import AskedFor, asked_for
from store.jobs.occasions import Occasion
from store.releases.assignments import assignment
from store.releases.bundles import bundle_content
from store.releases.cascades import cascade as read_cascade
from store.releases.certifications import next_attempt_number
from store.releases.rings import RISK, rings
from store.releases.seasons import SeasonRecord, latest_season
from training.certification.certify import Certified
from training.certification.compare import compare_with_champion
from training.certification.window import Periods
from training.extraction import Answerer
from training.probes.fit import FitProbe
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierVectors, extracted_vectors, read_window, stored_vectors
from training.rows.splits import Proportions, Split, certifying, split_rows, taught_before
from training.tiers.learn import LearnedTier, learn_tier, signal_columns

log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a window is trained."""

    fit: FitSettings = field(default_factory=FitSettings)
    proportions: Proportions = field(default_factory=Proportions)
    lease: timedelta = timedelta(minutes=5)  # of the claim, renewed while the run works
    warm_start: bool = False  # linear probes start from the champion's, at the layer whose fingerprint is the same


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """What a run finds in the store."""

    spec: CascadeSpec
    attempt: int  # that comes next
    champion: Bundle | None
    decides: bool  # the champion is in force
    alarm: datetime | None  # decisions before it were read by the last risk alarm
    season: SeasonRecord | None  # the newest one, after its newest attempt
    asked: AskedFor  # attempts that persons asked for since the last turn


def read_state(engine: Engine, cascade: str) -> State:
    """Raises store.errors.CascadeUnknown."""
    with reading(engine) as session:
        rung, in_force = rings(session, cascade, RISK), assignment(session, cascade)
        champion, decides = None, False
        if in_force is not None and in_force.champion is not None:
            content = bundle_content(session, in_force.champion)
            champion = read_bundle(content, expected_id=in_force.champion)
            decides = in_force.mode is Mode.ACTIVE
        return State(
            spec=read_cascade(session, cascade),
            attempt=next_attempt_number(session, cascade),
            champion=champion,
            decides=decides,
            alarm=rung[-1].read_until if rung else None,
            season=latest_season(session, cascade),
            asked=asked_for(session, cascade),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowRun:
    """A run and all that it was given."""

    engine: Engine
    state: State
    window: Window  # of mature decisions
    as_of: datetime
    settings: TrainingSettings
    answerers: Mapping[int, Answerer]
    folder: Path  # for scratch files
    fit: FitProbe
    occasion: Occasion | None  # None = by hand

    @property
    def spec(self) -> CascadeSpec:
        return self.state.spec

    @property
    def targets(self) -> Targets:
        return self.state.spec.targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadRows:
    """The decisions of a window with the vectors of each non-last tier."""

    window: Window
    rows: CascadeRows
    vectors: tuple[TierVectors | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What a window taught."""

    split: Split
    tiers: tuple[LearnedTier | None, ...]
    signals: tuple[Signals, ...]  # of all rows, per non-last tier
    kind: PolicyKind  # that can be certified with it


def read_rows(run: WindowRun, window: Window) -> ReadRows:
    """The decisions of a window as they are known at `run.as_of`; rows may be none."""
    spec = run.spec
    rows = read_window(run.engine, spec, window, as_of=run.as_of)
    if rows.of_another_kind:
        log.warning("%s: %d decisions left out, their P(T) is of another kind", spec.name, rows.of_another_kind)
    if rows.undeclared:
        log.warning("%s: %d decisions ran undeclared models and teach nothing", spec.name, rows.undeclared)
    vectors = tuple(_vectors(run, rows, tier) if rows.n else None for tier in range(spec.last))
    return ReadRows(window=window, rows=rows, vectors=vectors)


def learn(run: WindowRun, read: ReadRows, *, reserved: bool = False) -> Learned:
    """Every tier's models, of rows that do not certify; `training.rows.splits` has `reserved`."""
    rows, last, proportions = read.rows, run.spec.last, run.settings.proportions
    periods = Periods(read=read.window, every=run.spec.schedule.train_every, alarm=run.state.alarm)
    since = periods.certifying(rows, certifying(rows.ids, rows.prompt_hashes, proportions))
    split = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, proportions, since=since, reserved=reserved)
    former = _former(run.state.champion, last) if run.settings.warm_start else [None] * last
    tiers = tuple(
        learn_tier(rows, split, tier, read.vectors[tier], run.settings.fit, former[tier], fit=run.fit)
        for tier in range(last)
    )
    kind = _kind(run.targets, tiers)
    if kind is PolicyKind.P_T:  # it learns nothing, so every prompt certifies, and fewer periods may do
        split = replace(split, since=periods.certifying(rows, np.ones(rows.n, dtype=np.bool_)))
    signals = tuple(_signals(rows, tier, one, read.vectors[tier]) for tier, one in enumerate(tiers))
    return Learned(split=split, tiers=tiers, signals=signals, kind=kind)


def compared(run: WindowRun, read: ReadRows, certified: Certified) -> ComparisonDocument | None:
    """The paired comparison that the promotion check judges, on rows of prompts from which neither
    has learned; None where there is nothing to compare.
    """
    champion = run.state.champion
    if champion is None or not certified.certified or len(champion.tiers) != len(read.vectors):
        return None
    unseen = ~_taught(champion, certified.rows, read.rows, run.settings.proportions)
    if not unseen.any():
        return None
    if not unseen.all():
        log.info("%s: %d of %d rows taught the champion", run.spec.name, (~unseen).sum(), len(unseen))
        certified = replace(
            certified,
            rows=certified.rows.take(unseen),
            signals=signals_of_rows(certified.signals, unseen),
            kept=certified.kept[unseen],
        )
    return compare_with_champion(read.rows, read.vectors, certified, champion, run.targets)


def _taught(champion: Bundle, tested: CascadeRows, read: CascadeRows, proportions: Proportions) -> BoolArray:
    """[tested rows] whether the champion has learned from their prompts, as far as the rows that
    were read tell. P(T) learns nothing, and what may certify in a season never teaches in it.
    """
    document = champion.document
    window, certificate = document.training_window, document.certificate
    nothing = np.zeros(tested.n, dtype=np.bool_)
    if window is None or certificate is None:
        return nothing
    if document.policy.kind is PolicyKind.P_T or certificate.season is not None:
        return nothing
    taught = taught_before(
        read.ids,
        read.seconds,
        read.prompt_hashes,
        proportions,
        read=(window.start.timestamp(), window.end.timestamp()),
        since=certificate.cohort.start.timestamp(),
    )
    return taught[np.isin(np.array(read.ids), np.array(tested.ids))]


def _vectors(run: WindowRun, rows: CascadeRows, tier: int) -> TierVectors | None:
    if tier in run.answerers:
        extracted = extracted_vectors(rows, tier, run.answerers[tier], run.folder)
        if extracted is not None:
            return extracted
    return stored_vectors(rows, tier)


def _former(champion: Bundle | None, tiers: int) -> list[TierModels | None]:
    """The champion's models by tier; none where it is of another chain."""
    return list(champion.tiers) if champion is not None and len(champion.tiers) == tiers else [None] * tiers


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
