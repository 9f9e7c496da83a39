"""What became of one attempt: its bundle with certificate and report, or that none was made.

Every attempt that tested something makes a bundle, also one that certified nothing: its policy
escalates all, and what was tried can be read there. The certificate's figures are taken from the
certification rows after everything is decided.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sqlalchemy import Engine

from evidence.certification.nested_path import Signals
from knowgate._bundles.bundle import Bundle, BundleDocument, ComparisonDocument, TierModels, write_bundle
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from store.jobs.job_runs import Claim
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from training.certification.certificates import certificate_of
from training.certification.certify import Certified
from training.certification.report import SignalQuality, cohort_savings, quality_of, signal_quality
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
    delta: float  # all that it has spent
    as_of: datetime
    read: Window
    rows: CascadeRows
    split: Split
    signals: tuple[Signals, ...]  # of those rows, per non-last tier
    learned: tuple[LearnedTier | None, ...]  # per non-last tier; None = it has no models of its own
    certified: Certified
    champion: Bundle | None  # at the time
    comparison: ComparisonDocument | None  # with it

    @property
    def judged(self) -> BoolArray:
        """[n] the rows that signals are judged on: those that certify, or all if nothing was
        learned.
        """
        return self.split.rows(Part.CERTIFICATION) if any(self.learned) else np.ones(self.rows.n, dtype=np.bool_)


def publish_attempt(
    engine: Engine, attempt: Attempt, settings: FitSettings, *, claim: Claim | None, now: datetime
) -> TrainingOutcome:
    """Make the attempt's bundle and let it take effect; what became of it.

    Raises store.errors.ClaimLost and AttemptTaken as `training.publishing.publish` does.
    """
    judged, judged_signals = attempt.rows.take(attempt.judged), _taken(attempt.signals, attempt.judged)
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
    report = run_report(bundle, judged, judged_signals, attempt.learned, qualities, settings)
    publish(engine, bundle, report, outcome, claim=claim, now=now)
    log.info("%s: %s, bundle %s", attempt.spec.name, outcome.status, bundle.id)
    return outcome


def _bundle(attempt: Attempt, qualities: Sequence[SignalQuality]) -> Bundle:
    spec, certified = attempt.spec, attempt.certified
    certificate = certificate_of(
        certified,
        spec.targets,
        delta=attempt.delta,
        attempt=attempt.number,
        qualities=qualities,
        savings=cohort_savings(certified.rows, certified.kept) if certified.certified else None,
    )
    tiers = tuple(_judged(one, tier, qualities) for tier, one in enumerate(attempt.learned))
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


def _taken(signals: Sequence[Signals], chosen: BoolArray) -> tuple[Signals, ...]:
    return tuple({name: values[chosen] for name, values in shown.items()} for shown in signals)


def code_version() -> str:
    """The installed version of the control plane."""
    try:
        return version("knowgate-control")
    except PackageNotFoundError:
        return "unknown"


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
    engine: Engine,
    claim: Claim | None,
    cascade: str,
    rows: CascadeRows,
    labels_needed: int | None,
    clock: Callable[[], datetime],
) -> TrainingOutcome:
    """End a window whose attempt could hardly certify anything."""
    outcome = TrainingOutcome(
        status=TrainingStatus.NOT_ATTEMPTED,
        cascade=cascade,
        labels_needed=labels_needed,
        rows={"window": rows.n} | _left_out(rows),
    )
    finish_without_effect(engine, claim, outcome, now=clock())
    log.info("%s: no attempt, it waits for about %s more labels", cascade, labels_needed)
    return outcome


def end_without_data(
    engine: Engine, claim: Claim | None, cascade: str, rows: CascadeRows | None, clock: Callable[[], datetime]
) -> TrainingOutcome:
    """End a window in which nothing can be tested."""
    counts = {"window": 0 if rows is None else rows.n} | ({} if rows is None else _left_out(rows))
    outcome = TrainingOutcome(status=TrainingStatus.NO_DATA, cascade=cascade, rows=counts)
    finish_without_effect(engine, claim, outcome, now=clock())
    return outcome
