"""Figures with bounds: pure functions from arrays of outcomes to records, and nothing else.

No clock, no database, no file and no randomness live here; whoever calls brings rows that are joined, mature and in
order. What a figure means and where its formula comes from stands at its function.
"""

from evidence.alarm_increments import risk_increments, risk_range, savings_increments, savings_range
from evidence.alarms import AlarmRule, AlarmState, advance_watch, open_watch, state_from_json, state_to_json
from evidence.betting import (
    betting_lower_bound,
    betting_upper_bound,
    drop_exceeds_by_betting,
    drop_refuted_by_betting,
    fixed_order,
    log_capital,
)
from evidence.binomial import (
    Proportion,
    clopper_pearson,
    proportion_at_least,
    proportion_lower_bound,
    proportion_upper_bound,
    retained_rows_to_start,
)
from evidence.break_even import BreakEven, Waiting, break_even, cascade_costs, waiting
from evidence.calibration import (
    Calibration,
    LabelFreeAccuracy,
    ReliabilityBin,
    calibration_of,
    hallucination_rate,
    label_free_accuracy,
    overconfidence,
    reliability_curve,
)
from evidence.certificate import (
    CandidateFigures,
    Certification,
    CertificationStatus,
    CertificationTest,
    GateThreshold,
    Target,
    TargetKind,
    Thresholds,
    thresholds_as_objects,
)
from evidence.certification_rows import CertificationRows
from evidence.certify import certify_path, certify_single_gate, refuse_overlap
from evidence.cohort_costs import Cohort, Escalation, SliceCohort, TokenCount, TokenPrice
from evidence.delays import ArrivalPoint, arrival_curve
from evidence.errors import EvidenceError, InvalidInputError, NotIdentifiedError, OverlapError
from evidence.estimates import (
    ClippedEstimate,
    Estimate,
    clipped_inverse_propensity,
    doubly_robust,
    inverse_propensity,
    joint_propensity,
    self_normalised,
)
from evidence.exact_drop import (
    critical_value,
    drop_exceeds,
    drop_lower_bound,
    drop_refuted,
    drop_statistic,
    drop_test_power,
    drop_upper_bound,
)
from evidence.inputs import why_not_identified
from evidence.label_allocation import label_propensities
from evidence.ood_conservativeness import EscalationGap, OodConservativeness, escalation_gap, ood_conservativeness_of
from evidence.paired import PairedComparison, compare_paired
from evidence.path import Candidate, candidates_of, equal_quantile_path, kept_tier, single_gate_path
from evidence.power import (
    approximate_rows_for_drop,
    rows_needed_for_accuracy,
    rows_needed_for_betting,
    rows_needed_for_drop,
)
from evidence.prediction_powered import (
    CorrectedShare,
    JudgeErrors,
    PoweredEstimate,
    corrected_by_error_rates,
    judge_errors,
    prediction_powered,
)
from evidence.quality import AurocGain, Figure, McNemar, auroc, auroc_gain, macro_f1, mcnemar
from evidence.savings import Savings, gflops, impute_last_cost, predictable_forecast, savings_of, usd
from evidence.shift_share import Cause, Part, SavingsChange, explain_savings_change
from evidence.signal_worth import (
    RetainableShares,
    fewest_rows_to_certify,
    perfect_kept,
    retainable_shares,
    worth_of_signal,
)
from evidence.spending import alpha_for_start_month, delta_for_attempt

__all__ = [
    "AlarmRule",
    "AlarmState",
    "ArrivalPoint",
    "AurocGain",
    "BreakEven",
    "Calibration",
    "Candidate",
    "CandidateFigures",
    "Cause",
    "Certification",
    "CertificationRows",
    "CertificationStatus",
    "CertificationTest",
    "ClippedEstimate",
    "Cohort",
    "CorrectedShare",
    "Escalation",
    "EscalationGap",
    "Estimate",
    "EvidenceError",
    "Figure",
    "GateThreshold",
    "InvalidInputError",
    "JudgeErrors",
    "LabelFreeAccuracy",
    "McNemar",
    "NotIdentifiedError",
    "OodConservativeness",
    "OverlapError",
    "PairedComparison",
    "Part",
    "PoweredEstimate",
    "Proportion",
    "ReliabilityBin",
    "RetainableShares",
    "Savings",
    "SavingsChange",
    "SliceCohort",
    "Target",
    "TargetKind",
    "Thresholds",
    "TokenCount",
    "TokenPrice",
    "Waiting",
    "advance_watch",
    "alpha_for_start_month",
    "approximate_rows_for_drop",
    "arrival_curve",
    "auroc",
    "auroc_gain",
    "betting_lower_bound",
    "betting_upper_bound",
    "break_even",
    "calibration_of",
    "candidates_of",
    "cascade_costs",
    "certify_path",
    "certify_single_gate",
    "clipped_inverse_propensity",
    "clopper_pearson",
    "compare_paired",
    "corrected_by_error_rates",
    "critical_value",
    "delta_for_attempt",
    "doubly_robust",
    "drop_exceeds",
    "drop_exceeds_by_betting",
    "drop_lower_bound",
    "drop_refuted",
    "drop_refuted_by_betting",
    "drop_statistic",
    "drop_test_power",
    "drop_upper_bound",
    "equal_quantile_path",
    "escalation_gap",
    "explain_savings_change",
    "fewest_rows_to_certify",
    "fixed_order",
    "gflops",
    "hallucination_rate",
    "impute_last_cost",
    "inverse_propensity",
    "joint_propensity",
    "judge_errors",
    "kept_tier",
    "label_free_accuracy",
    "label_propensities",
    "log_capital",
    "macro_f1",
    "mcnemar",
    "ood_conservativeness_of",
    "open_watch",
    "overconfidence",
    "perfect_kept",
    "predictable_forecast",
    "prediction_powered",
    "proportion_at_least",
    "proportion_lower_bound",
    "proportion_upper_bound",
    "refuse_overlap",
    "reliability_curve",
    "retainable_shares",
    "retained_rows_to_start",
    "risk_increments",
    "risk_range",
    "rows_needed_for_accuracy",
    "rows_needed_for_betting",
    "rows_needed_for_drop",
    "savings_increments",
    "savings_of",
    "savings_range",
    "self_normalised",
    "single_gate_path",
    "state_from_json",
    "state_to_json",
    "thresholds_as_objects",
    "usd",
    "waiting",
    "why_not_identified",
    "worth_of_signal",
]
