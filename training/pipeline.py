"""One window, from labelled decisions to a published bundle.

Decisions:
- Only mature decisions count: those for which every label that is waited for has had its horizon by
  `as_of`.
- A cascade some of whose non-last tiers have no models of their own is certified with p_t: a rule
  needs its signals at every tier, and p_t needs none.
- An attempt has the δ of what is promised: the whole of it where each week has its own thresholds
  (`rolling`), its share where no week of a season may be broken (`season`).
- Every attempt that tested something makes a bundle, also one that certified nothing: its policy
  escalates all, and what was tried can be read there. "Insufficient evidence" and "infeasible" are
  outcomes.
- P(T) is of one kind per tier, the cascade's: the bundle names it, and a runtime that is sent
  another escalates.
- The certificate's figures are taken from the certification rows after everything is decided.
- Probes start from nothing unless `warm_start` is set. A former probe may have learned from prompts
  that certify now; linear probes end at the same optimum within their tolerance wherever they
  start, and that much is what it may tell.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from evidence.bounds.spending import delta_by_promise
from evidence.certification.nested_path import Signals
from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import (
    Bundle,
    BundleDocument,
    ComparisonDocument,
    TierModels,
    read_bundle,
    write_bundle,
)
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, PromiseKind, Targets
from store.engine import reading
from store.jobs.job_runs import Claim
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.releases.assignments import assignment
from store.releases.bundles import bundle_content
from store.releases.cascades import cascade as read_cascade
from store.releases.certifications import next_attempt
from training.certification.certificates import certificate_of
from training.certification.certify import Certified, certify_kind, outlook_on
from training.certification.compare import compare_with_champion
from training.certification.report import SignalQuality, cohort_savings, quality_of, signal_quality
from training.extraction import Answerer
from training.heartbeat import kept_alive
from training.probes.fit import FitProbe, fit_probe
from training.probes.probe_settings import FitSettings
from training.publishing.publish import finish_without_effect, publish
from training.publishing.run_report import run_report
from training.rows.dataset import CascadeRows, TierVectors, extracted_vectors, read_window, stored_vectors
from training.rows.own_states import scratch_folder
from training.rows.splits import Part, Proportions, Split, split_rows
from training.tiers.learn import LearnedTier, learn_tier, signal_columns, with_document

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
        spec, attempt, champion, decides = _read_state(engine, cascade)
        mature = _mature(window, as_of, spec)
        rows = None if mature is None else _read_rows(engine, spec, mature, as_of)
        if rows is not None and rows.undeclared:
            log.warning("%s: %d decisions ran undeclared models and teach nothing", cascade, rows.undeclared)
        if mature is None or rows is None or rows.n == 0:
            return _no_data(engine, claim, cascade, rows, clock)
        split = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, settings.proportions)
        vectors = [_vectors(rows, tier, answerers or {}, folder) for tier in range(spec.last)]
        former = _former(champion, spec.last) if settings.warm_start else [None] * spec.last
        learned = [
            learn_tier(rows, split, tier, vectors[tier], settings.fit, former[tier], fit=fit)
            for tier in range(spec.last)
        ]
        signals = [_signals(rows, tier, one, vectors[tier]) for tier, one in enumerate(learned)]
        targets = spec.targets
        delta = delta_by_promise(targets.delta, attempt, targets.promise)
        kind = _kind(targets, learned)
        if decides and targets.promise is PromiseKind.ROLLING:
            outlook = outlook_on(rows, split, signals, targets, kind=kind, delta=delta)
            if not outlook.made:
                return _not_attempted(engine, claim, cascade, rows, outlook.labels_needed, clock)
        certified = certify_kind(rows, split, signals, targets, kind=kind, delta=delta)
        if certified is None:
            return _no_data(engine, claim, cascade, rows, clock)
        return _publish(
            engine,
            _learned(spec, mature, rows, split, learned, signals, certified),
            settings,
            delta=delta,
            attempt=attempt,
            champion=champion,
            comparison=_compare(rows, vectors, certified, champion, targets),
            as_of=as_of,
            claim=claim,
            now=clock(),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learned:
    spec: CascadeSpec
    window: Window
    rows: CascadeRows
    split: Split
    tiers: list[LearnedTier | None]
    judged_rows: CascadeRows  # rows that fitted nothing
    judged_signals: tuple[Signals, ...]
    certified: Certified


def _publish(
    engine: Engine,
    run: _Learned,
    settings: TrainingSettings,
    *,
    delta: float,
    attempt: int,
    champion: Bundle | None,
    comparison: ComparisonDocument | None,
    as_of: datetime,
    claim: Claim | None,
    now: datetime,
) -> TrainingOutcome:
    certified = run.certified
    share = certified.certification.retained_share if certified.certified else None
    qualities = signal_quality(run.judged_rows, run.judged_signals, share=share)
    certificate = certificate_of(
        certified,
        run.spec.targets,
        delta=delta,
        attempt=attempt,
        qualities=qualities,
        savings=cohort_savings(certified.rows, certified.kept) if certified.certified else None,
    )
    counts = _counts(run)
    tiers = tuple(_judged(one, tier, qualities) for tier, one in enumerate(run.tiers))
    bundle = write_bundle(
        BundleDocument(
            cascade=run.spec.name,
            models=tuple(tier.named_model for tier in run.spec.tiers),
            tiers=tuple(None if models is None else models.document for models in tiers),
            policy=certified.policy,
            certificate=certificate,
            comparison=comparison,
            training_window=run.window,
            rows=counts,
            code_version=code_version(),
            parent=None if champion is None else champion.id,
            created_at=as_of,
            p_t_kinds=tuple(tier.p_t_kind for tier in run.spec.tiers[:-1]),
        ),
        tiers,
    )
    outcome = TrainingOutcome(
        status=TrainingStatus(certificate.status.value),
        cascade=run.spec.name,
        bundle=bundle.id,
        certificate=certificate,
        labels_needed=certified.certification.labels_needed,
        rows=counts,
    )
    report = run_report(bundle, run.judged_rows, run.judged_signals, run.tiers, qualities, settings.fit)
    publish(engine, bundle, report, outcome, claim=claim, now=now)
    log.info("%s: %s, bundle %s", run.spec.name, outcome.status, bundle.id)
    return outcome


def code_version() -> str:
    """The installed version of the control plane."""
    try:
        return version("knowgate-control")
    except PackageNotFoundError:
        return "unknown"


def _read_state(engine: Engine, cascade: str) -> tuple[CascadeSpec, int, Bundle | None, bool]:
    """The cascade's spec, the attempt that comes next, the champion, and whether it decides."""
    with reading(engine) as session:
        spec, attempt = read_cascade(session, cascade), next_attempt(session, cascade)
        in_force = assignment(session, cascade)
        if in_force is None or in_force.champion is None:
            return spec, attempt, None, False
        content = bundle_content(session, in_force.champion)
        champion = read_bundle(content, expected_id=in_force.champion)
        return spec, attempt, champion, in_force.mode is Mode.ACTIVE


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


def _kind(targets: Targets, learned: list[LearnedTier | None]) -> PolicyKind:
    """The configured rule where every tier has its signals, else p_t."""
    for one in learned:
        if one is None or (targets.rule is PolicyKind.SCORE and one.models.document.score_model is None):
            return PolicyKind.P_T
    return targets.rule


def _learned(
    spec: CascadeSpec,
    window: Window,
    rows: CascadeRows,
    split: Split,
    tiers: list[LearnedTier | None],
    signals: Sequence[Signals],
    certified: Certified,
) -> _Learned:
    """What was learned, beside the rows it is judged on: the certification part, or all if nothing
    was learned.
    """
    judged = split.rows(Part.CERTIFICATION) if any(tiers) else np.ones(rows.n, dtype=bool)
    return _Learned(
        spec=spec,
        window=window,
        rows=rows,
        split=split,
        tiers=tiers,
        judged_rows=rows.take(judged),
        judged_signals=tuple({name: values[judged] for name, values in shown.items()} for shown in signals),
        certified=certified,
    )


def _judged(learned: LearnedTier | None, tier: int, qualities: Sequence[SignalQuality]) -> TierModels | None:
    """The tier's models with their figures on rows that fitted nothing."""
    if learned is None:
        return None
    quality = quality_of(qualities, "p_ik", tier)
    if quality is None:
        return learned.models
    return with_document(
        learned.models, validation_auroc=quality.auroc.value, validation_macro_f1=quality.macro_f1.value
    )


def _counts(run: _Learned) -> dict[str, int]:
    counts = {"window": run.rows.n, "tested": run.certified.certification.n} | _left_out(run.rows)
    for part in Part:
        counts[str(part)] = int(run.split.rows(part).sum())
        counts[f"{part}_prompts"] = run.split.prompts[str(part)]
    for tier, one in enumerate(run.tiers):
        if one is not None:
            counts |= {f"tier{tier}_{part}_labels": count for part, count in one.rows.items()}
    return counts


def _left_out(rows: CascadeRows) -> dict[str, int]:
    """Decisions that the window holds beside those that were read."""
    left_out = {"undeclared": rows.undeclared, "p_t_of_another_kind": rows.of_another_kind}
    return {reason: count for reason, count in left_out.items() if count}


def _not_attempted(
    engine: Engine,
    claim: Claim | None,
    cascade: str,
    rows: CascadeRows,
    labels_needed: int | None,
    clock: Callable[[], datetime],
) -> TrainingOutcome:
    outcome = TrainingOutcome(
        status=TrainingStatus.NOT_ATTEMPTED,
        cascade=cascade,
        labels_needed=labels_needed,
        rows={"window": rows.n} | _left_out(rows),
    )
    finish_without_effect(engine, claim, outcome, now=clock())
    log.info("%s: no attempt, it waits for about %s more labels", cascade, labels_needed)
    return outcome


def _no_data(
    engine: Engine, claim: Claim | None, cascade: str, rows: CascadeRows | None, clock: Callable[[], datetime]
) -> TrainingOutcome:
    counts = {"window": 0 if rows is None else rows.n} | ({} if rows is None else _left_out(rows))
    outcome = TrainingOutcome(status=TrainingStatus.NO_DATA, cascade=cascade, rows=counts)
    finish_without_effect(engine, claim, outcome, now=clock())
    return outcome
