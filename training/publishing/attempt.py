"""What became of one attempt: its bundle with certificate and report, or that none was made.

Every attempt that tested something makes a bundle, also one that certified nothing: its policy
escalates all, and what was tried can be read there. The certificate's figures are taken from the
certification rows after everything is decided.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sqlalchemy import Engine

from evidence.certification.nested_path import Signals, signals_of_rows
from knowgate._bundles.bundle import Bundle, BundleDocument, ComparisonDocument, TierModels, write_bundle
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from store.jobs.job_runs import Claim
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.releases.seasons import SeasonRecord
from training.certification.certificates import certificate_of
from training.certification.certify import Certified
from training.certification.report import SignalQuality, quality_of, signal_quality
from training.certification.savings import cohort_savings
from training.probes.probe_settings import FitSettings
from training.publishing.publish import finish_without_effect, publish
from training.publishing.run_report import run_report
from training.rows.dataset import CascadeRows
from training.rows.splits import Part, Split
from training.tiers.learn import LearnedTier, with_document

log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One attempt whose test is made."""

    spec: CascadeSpec
    number: int  # k, from 1
    as_of: datetime
    read: Window
    rows: CascadeRows
    split: Split
    signals: tuple[Signals, ...]  # of those rows, per non-last tier
    models: tuple[TierModels | None, ...]  # per non-last tier; None = it has none of its own
    learned: tuple[LearnedTier | None, ...]  # how they came about; None where they were not learned now
    certified: Certified
    champion: Bundle | None  # at the time
    comparison: ComparisonDocument | None  # with it
    season: SeasonRecord | None = None  # after this attempt; its bundle is the one that is made
    delta: float | None = None  # that it had; None = the promise's

    @property
    def judged(self) -> BoolArray:
        """[n] the rows that signals are judged on: those that certify, or all if nothing was
        learned.
        """
        return self.split.rows(Part.CERTIFICATION) if any(self.models) else np.ones(self.rows.n, dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NothingToTest:
    """Not one row whose outcomes are known and not counted yet."""

    rows: CascadeRows | None = None  # that were read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NotWorthIt:
    """An attempt could hardly certify anything."""

    rows: CascadeRows
    labels_needed: int | None  # further ones that it waits for


def publish_attempt(
    engine: Engine, attempt: Attempt, settings: FitSettings, *, claim: Claim | None, now: datetime
) -> TrainingOutcome:
    """Make the attempt's bundle and let it take effect; what became of it.

    Raises store.errors.ClaimLost and AttemptTaken as `training.publishing.publish` does.
    """
    judged, judged_signals = attempt.rows.take(attempt.judged), signals_of_rows(attempt.signals, attempt.judged)
    certified = attempt.certified
    share = certified.certification.retained_share if certified.certified else None
    qualities = signal_quality(judged, judged_signals, share=share)
    bundle = _bundle(attempt, qualities)
    certificate = bundle.document.certificate
    assert certificate is not None
    outcome = TrainingOutcome(
        status=TrainingStatus(certificate.status.value),
        cascade=attempt.spec.name,
        bundle=bundle.id,
        certificate=certificate,
        labels_needed=certified.certification.labels_needed,
        rows=dict(bundle.document.rows),
    )
    occasion = None if claim is None else claim.occasion
    report = run_report(bundle, judged, judged_signals, attempt.learned, qualities, settings, occasion)
    season = None if attempt.season is None else replace(attempt.season, bundle=bundle.id)
    publish(engine, bundle, report, outcome, season=season, claim=claim, now=now)
    log.info("%s: %s, bundle %s", attempt.spec.name, outcome.status, bundle.id)
    return outcome


def _bundle(attempt: Attempt, qualities: Sequence[SignalQuality]) -> Bundle:
    spec, certified = attempt.spec, attempt.certified
    certificate = certificate_of(
        certified,
        spec.targets,
        attempt=attempt.number,
        qualities=qualities,
        savings=cohort_savings(certified.rows, certified.kept, certified.ended) if certified.certified else None,
        season=attempt.season,
        delta=attempt.delta,
    )
    tiers = tuple(_judged(one, tier, qualities) for tier, one in enumerate(attempt.models))
    document = BundleDocument(
        cascade=spec.name,
        models=tuple(tier.named_model for tier in spec.tiers),
        tiers=tuple(None if models is None else models.document for models in tiers),
        policy=certified.policy,
        certificate=certificate,
        comparison=attempt.comparison,
        training_window=attempt.read,
        rows=_counts(attempt),
        code_version=code_version(),
        parent=None if attempt.champion is None else attempt.champion.id,
        created_at=attempt.as_of,
        p_t_kinds=tuple(tier.p_t_kind for tier in spec.tiers[:-1]),
    )
    return write_bundle(document, tiers)


def code_version() -> str:
    """The installed version of the control plane."""
    try:
        return version("knowgate-control")
    except PackageNotFoundError:
        return "unknown"


def _judged(models: TierModels | None, tier: int, qualities: Sequence[SignalQuality]) -> TierModels | None:
    """The tier's models with their figures on rows that fitted nothing."""
    quality = quality_of(qualities, "p_ik", tier)
    if models is None or quality is None:
        return models
    return with_document(models, validation_auroc=quality.auroc.value, validation_macro_f1=quality.macro_f1.value)


def _counts(attempt: Attempt) -> dict[str, int]:
    counts = {"window": attempt.rows.n, "tested": attempt.certified.certification.n} | _left_out(attempt.rows)
    for part in Part:
        counts[str(part)] = int(attempt.split.rows(part).sum())
        counts[f"{part}_prompts"] = attempt.split.prompts[str(part)]
    for tier, one in enumerate(attempt.learned):
        if one is not None:
            counts |= {f"tier{tier}_{part}_labels": count for part, count in one.rows.items()}
    return counts


def _left_out(rows: CascadeRows) -> dict[str, int]:
    """Decisions that the window holds beside those that were read."""
    left_out = {"undeclared": rows.undeclared, "p_t_of_another_kind": rows.of_another_kind}
    return {reason: count for reason, count in left_out.items() if count}


def end_unattempted(
    engine: Engine, why: NothingToTest | NotWorthIt, cascade: str, *, claim: Claim | None, now: datetime
) -> TrainingOutcome:
    """End a window without an attempt. Raises store.errors.ClaimLost."""
    counts = {"window": 0} if why.rows is None else {"window": why.rows.n} | _left_out(why.rows)
    outcome = TrainingOutcome(status=TrainingStatus.NO_DATA, cascade=cascade, rows=counts)
    if isinstance(why, NotWorthIt):
        outcome = replace(outcome, status=TrainingStatus.NOT_ATTEMPTED, labels_needed=why.labels_needed)
        log.info("%s: no attempt, it waits for about %s more labels", cascade, why.labels_needed)
    finish_without_effect(engine, claim, outcome, now=now)
    return outcome
