"""What the model registry gets of a run: parameters, figures with intervals, curves, and the
points of its plots.
"""

from collections.abc import Sequence

import numpy as np

from evidence.certification.nested_path import Signals
from knowgate._bundles.bundle import Bundle
from knowgate._models.probe import ProbeKind
from knowgate._records.arrays import FloatArray
from store.jobs.occasions import Occasion
from training.certification.report import SignalQuality
from training.probes.probe_settings import FitSettings
from training.publishing.records import Curve, Figure, RiskPoint, RunReport, SignalReport
from training.rows.dataset import CascadeRows
from training.tiers.learn import LearnedTier

RISK_POINTS = 50


def run_report(
    bundle: Bundle,
    rows: CascadeRows,
    signals: Sequence[Signals],
    learned: Sequence[LearnedTier | None],
    qualities: Sequence[SignalQuality],
    settings: FitSettings,
    occasion: Occasion | None = None,
) -> RunReport:
    """Everything about one bundle; `rows` and `signals` are those that the qualities were taken
    from, `occasion` is what it was trained for.
    """
    document = bundle.document
    assert document.certificate is not None
    return RunReport(
        cascade=document.cascade,
        bundle=bundle.id,
        status=document.certificate.status.value,
        created_at=document.created_at,
        parameters=_parameters(bundle, learned, settings),
        figures=(*_certificate_figures(bundle), *_layer_figures(learned), *_quality_figures(qualities)),
        curves=_curves(learned),
        signals=tuple(_signal(rows, signals, quality) for quality in qualities),
        reason=None if occasion is None else occasion.reason.value,
        why=None if occasion is None else occasion.why,
    )


def risk_coverage(scores: FloatArray, correct: FloatArray) -> tuple[RiskPoint, ...]:
    """Risk among the surest share of rows, at up to 50 shares; scores and correctness [n], all
    known.
    """
    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(1.0 - correct[order])
    counts = np.unique(np.ceil(np.linspace(1 / RISK_POINTS, 1.0, RISK_POINTS) * len(scores)).astype(np.int64))
    return tuple(
        RiskPoint(retained_share=float(count / len(scores)), risk=float(wrong[count - 1] / count)) for count in counts
    )


def _parameters(bundle: Bundle, learned: Sequence[LearnedTier | None], settings: FitSettings) -> dict[str, str]:
    document = bundle.document
    parameters = {
        "cascade": document.cascade,
        "policy": str(document.policy.kind),
        "code_version": document.code_version,
        "seed": str(settings.seed),
        "penalties": str(settings.penalties),
        "mlp_penalties": str(settings.mlp_penalties),
    }
    if document.training_window is not None:
        parameters["window_start"] = document.training_window.start.isoformat()
        parameters["window_end"] = document.training_window.end.isoformat()
    parameters |= {f"rows.{name}": str(count) for name, count in document.rows.items()}
    for tier, one in enumerate(learned):
        if one is None:
            continue
        parameters |= {
            f"tier{tier}.model": one.models.document.fingerprint.model,
            f"tier{tier}.layer": str(one.models.document.fingerprint.layer),
            f"tier{tier}.probe": str(one.fitted.probe.kind),
            f"tier{tier}.penalty": str(one.fitted.chosen.penalty),
            f"tier{tier}.calibrator": str(one.models.document.ik_calibrator.kind),
        }
    return parameters


def _certificate_figures(bundle: Bundle) -> list[Figure]:
    certificate = bundle.document.certificate
    assert certificate is not None
    names = ("target_value", "delta", "delta_family", "estimated_drop", "drop_upper_bound", "retained_share")
    known = [(name, getattr(certificate, name)) for name in names]
    figures = [Figure(name=f"certificate.{name}", value=float(value)) for name, value in known if value is not None]
    figures.append(Figure(name="certificate.n", value=float(certificate.n)))
    if certificate.savings is not None:
        figures.append(
            Figure(
                name="certificate.savings",
                value=certificate.savings,
                low=certificate.savings_low,
                high=certificate.savings_high,
            )
        )
    return figures


def _layer_figures(learned: Sequence[LearnedTier | None]) -> list[Figure]:
    """Per layer and kind of probe the best validation figures over the penalties."""
    figures: list[Figure] = []
    for tier, one in enumerate(learned):
        if one is None:
            continue
        for at, fingerprint in enumerate(one.fingerprints):
            for kind in ProbeKind:
                tried = [figure for figure in one.fitted.all_figures if figure.layer == at and figure.kind is kind]
                if not tried:
                    continue
                prefix = f"tier{tier}.layer{fingerprint.layer}.{kind}"
                figures.append(Figure(name=f"{prefix}.log_loss", value=min(figure.log_loss for figure in tried)))
                aurocs = [figure.auroc for figure in tried if figure.auroc is not None]
                if aurocs:
                    figures.append(Figure(name=f"{prefix}.auroc", value=max(aurocs)))
    return figures


def _quality_figures(qualities: Sequence[SignalQuality]) -> list[Figure]:
    figures: list[Figure] = []
    for one in qualities:
        prefix = f"tier{one.tier}.{one.signal}"
        with_interval = {
            "auroc": (one.auroc.value, one.auroc.lower, one.auroc.upper),
            "macro_f1": (one.macro_f1.value, one.macro_f1.lower, one.macro_f1.upper),
        }
        gain = one.gain
        if gain is not None:
            with_interval["gain_over_p_t"] = gain.auroc, gain.auroc_low, gain.auroc_high
            with_interval["accuracy_gain_over_p_t"] = gain.accuracy, gain.accuracy_low, gain.accuracy_high
            with_interval["share_gain_over_p_t"] = gain.share, gain.share_low, gain.share_high
            within = gain.within_slices
            if within is not None:
                with_interval["gain_over_p_t_within_slices"] = within.auroc, within.auroc_low, within.auroc_high
        for name, (value, low, high) in with_interval.items():
            figures.append(Figure(name=f"{prefix}.{name}", value=value, low=low, high=high))
        figures.append(Figure(name=f"{prefix}.ece", value=one.calibration.expected_calibration_error))
        figures.append(Figure(name=f"{prefix}.brier", value=one.calibration.brier))
    return figures


def _curves(learned: Sequence[LearnedTier | None]) -> tuple[Curve, ...]:
    return tuple(
        Curve(name=f"tier{tier}.{name}_loss", values=tuple(float(value) for value in values))
        for tier, one in enumerate(learned)
        if one is not None
        for name, values in (("training", one.fitted.training_curve), ("validation", one.fitted.validation_curve))
    )


def _signal(rows: CascadeRows, signals: Sequence[Signals], quality: SignalQuality) -> SignalReport:
    scores = signals[quality.tier][quality.signal]
    correct = rows.tiers[quality.tier].correct
    known = np.isfinite(scores) & np.isfinite(correct)
    return SignalReport(
        tier=quality.tier,
        signal=quality.signal,
        reliability=quality.calibration.reliability,
        risk_coverage=risk_coverage(scores[known], correct[known]),
    )
