"""Every figure and every rule by name; docs/monitoring.md defines each, and a test holds the two
together.
"""

from enum import StrEnum

from knowgate._records.receivers import Severity as Severity  # rules and receivers are severe in the same words
from knowgate._records.records import Reason


class FigureName(StrEnum):
    """What is stored per cohort: of the whole cascade, of a slice, or of one tier."""

    QUERIES = "queries"
    RETAINED_SHARE = "retained_share"
    ESCALATED_SHARE = "escalated_share"
    SKIPPED_SHARE = "skipped_share"
    ESCALATED_BY_P_IK = "escalated_share.p_ik"
    ESCALATED_BY_P_T = "escalated_share.p_t"
    ESCALATED_BY_SCORE = "escalated_share.score"
    ESCALATED_BY_OOD = "escalated_share.ood"
    ESCALATED_BY_MISSING_SIGNAL = "escalated_share.missing_signal"
    ESCALATED_BY_FINGERPRINT = "escalated_share.fingerprint_mismatch"
    ESCALATED_BY_P_T_KIND = "escalated_share.p_t_kind_mismatch"
    ESCALATED_BY_NO_BUNDLE = "escalated_share.no_bundle"
    ESCALATED_BY_EXPIRED = "escalated_share.expired"
    ESCALATED_BY_ESCALATE_ALL = "escalated_share.escalate_all"
    ESCALATED_BY_OBSERVE = "escalated_share.observe"
    ACCURACY_CASCADE = "accuracy_cascade"
    ACCURACY_LAST = "accuracy_last"
    ACCURACY_RETAINED = "accuracy_retained"
    DROP = "drop"
    CBPE = "cbpe"
    JUDGE_WRONG_CALLED_RIGHT = "judge_wrong_called_right"
    JUDGE_RIGHT_CALLED_WRONG = "judge_right_called_wrong"
    SAVINGS_USD = "savings_usd"
    SAVINGS_GFLOPS = "savings_gflops"
    SAVINGS_TOKENS = "savings_tokens"
    SAVED_USD = "saved_usd"
    EXPLORATION_COST_USD = "exploration_cost_usd"
    EXPLORATION_COST_GFLOPS = "exploration_cost_gflops"
    EXPLORATION_COST_TOKENS = "exploration_cost_tokens"
    ENDED_COST_USD = "ended_cost_usd"
    ENDED_COST_GFLOPS = "ended_cost_gflops"
    ENDED_COST_TOKENS = "ended_cost_tokens"
    EXPLORED_SHARE = "explored_share"
    UNCERTIFIED_QUERIES = "uncertified_queries"
    UNCERTIFIED_SHARE = "uncertified_share"
    UNCERTIFIED_COST_USD = "uncertified_cost_usd"
    UNCERTIFIED_COST_GFLOPS = "uncertified_cost_gflops"
    UNCERTIFIED_COST_TOKENS = "uncertified_cost_tokens"
    SAVINGS_OF_ALL_USD = "savings_of_all_usd"
    SAVINGS_OF_ALL_GFLOPS = "savings_of_all_gflops"
    SAVINGS_OF_ALL_TOKENS = "savings_of_all_tokens"
    LABEL_COVERAGE = "label_coverage"
    LABELS_KNOWN = "labels_known"
    LABELS_MATURE = "labels_mature"
    LABELS_LATE = "labels_late"
    LABELS_OVERDUE = "labels_overdue"
    LATE_DECISIONS = "late_decisions"
    CUT_RUNS = "cut_runs"
    LATENCY_P50_MS = "latency_p50_ms"
    LATENCY_P95_MS = "latency_p95_ms"
    ESCALATION_ADDED_P50_MS = "escalation_added_p50_ms"
    ESCALATION_ADDED_P95_MS = "escalation_added_p95_ms"
    UNDECLARED_SHARE = "undeclared_share"
    MISSING_P_T = "missing_share.p_t"
    MISSING_P_IK = "missing_share.p_ik"
    MISSING_SCORE = "missing_share.score"
    MISSING_OOD = "missing_share.ood"
    MISSING_ENTROPY = "missing_share.entropy"
    MISSING_TOKENS_IN = "missing_share.tokens_in"
    MISSING_TOKENS_OUT = "missing_share.tokens_out"
    ACCURACY = "accuracy"
    AUROC_P_T = "auroc_p_t"
    AUROC_P_IK = "auroc_p_ik"
    AUROC_SCORE = "auroc_score"
    ECE = "ece"
    BRIER = "brier"
    CALIBRATION_IN_THE_LARGE = "calibration_in_the_large"
    OVERCONFIDENCE = "overconfidence"
    OOD_ONLY_SHARE = "ood_only_share"
    OOD_GAIN = "ood_gain"
    OOD_AS_GOOD = "ood_as_good"
    OOD_NEEDLESS_USD = "ood_needless_usd"
    OOD_MATCHED_DIFFERENCE = "ood_matched_difference"
    OOD_MATCHED_RATIO = "ood_matched_ratio"
    OOD_UNMATCHED_SHARE = "ood_unmatched_share"


class Rule(StrEnum):
    """What may raise an alert; at most one is open per cascade and rule."""

    SAVINGS = "savings"
    RISK = "risk"
    OOD_CONSERVATIVENESS = "ood_conservativeness"
    DRIFT = "drift"
    OVERDUE_LABELS = "overdue_labels"
    JUDGE_DRIFT = "judge_drift"
    STALE_RUNTIME = "stale_runtime"
    UNDECLARED_MODEL = "undeclared_model"
    CONSTANT_SIGNAL = "constant_signal"
    LATE_DECISIONS = "late_decisions"
    PROMISE_AT_RISK = "promise_at_risk"
    DEARER_THAN_LAST = "dearer_than_last"
    OVERCONFIDENT = "overconfident"
    MISCALIBRATED = "miscalibrated"
    MISSING_SIGNAL = "missing_signal"
    LABEL_STARVATION = "label_starvation"
    JOB_BEHIND = "job_behind"
    SILENT_RUNTIME = "silent_runtime"
    UNDELIVERED = "undelivered"

    @property
    def severity(self) -> Severity:
        """How soon somebody should look at its alerts."""
        return Severity.CRITICAL if self in (Rule.RISK, Rule.CONSTANT_SIGNAL) else Severity.WARNING

    @property
    def headline(self) -> str:
        """What its alert says, in one sentence.

        >>> Rule.RISK.headline
        'Accuracy is worse than promised.'
        """
        return _HEADLINES[self]

    @property
    def advice(self) -> str:
        """What a person should do, in short; the runbook says it at length."""
        return _ADVICE[self]

    @property
    def response(self) -> str:
        """What the service does about it by itself."""
        return _RESPONSES.get(self, "Nothing is changed by it: queries are decided as before.")

    @property
    def runbook(self) -> str:
        """The file of docs/runbooks that says what to check and what to do."""
        return f"docs/runbooks/{self.value}.md"


_HEADLINES = {
    Rule.SAVINGS: "The cascade saves less than promised.",
    Rule.RISK: "Accuracy is worse than promised.",
    Rule.OOD_CONSERVATIVENESS: "Many queries escalate only because they are unlike what the probe has seen.",
    Rule.DRIFT: "Traffic is not what the champion was trained on.",
    Rule.OVERDUE_LABELS: "Labels stay away.",
    Rule.JUDGE_DRIFT: "The judge is wrong more often than before.",
    Rule.STALE_RUNTIME: "A runtime does not serve what is in force.",
    Rule.UNDECLARED_MODEL: "Another model answers than is declared.",
    Rule.CONSTANT_SIGNAL: "A signal tells nothing any more.",
    Rule.LATE_DECISIONS: "Decisions arrive after they were needed.",
    Rule.PROMISE_AT_RISK: "The promise of accuracy is in danger.",
    Rule.DEARER_THAN_LAST: "The cascade costs more than its last tier alone.",
    Rule.OVERCONFIDENT: "Answers that the small model was sure of are often wrong.",
    Rule.MISCALIBRATED: "Scores are not what they say.",
    Rule.MISSING_SIGNAL: "A signal that decides is missing.",
    Rule.LABEL_STARVATION: "Labels are too few for a certificate.",
    Rule.JOB_BEHIND: "A job of the service stands still.",
    Rule.SILENT_RUNTIME: "A runtime has gone silent.",
    Rule.UNDELIVERED: "Messages did not arrive and were given up.",
}


# The one that is left out escalates nothing: no other tier was asked.
ESCALATES = tuple(reason for reason in Reason if reason is not Reason.UNCERTIFIED_REQUEST)


_ADVICE = {
    Rule.SAVINGS: "See which slice grew and which gate sends it on; a training is made by itself.",
    Rule.RISK: "Find out what changed before anything is resumed: model, prompts, labels. Then resume, or roll back.",
    Rule.OOD_CONSERVATIVENESS: "Label some of these queries: where the small model is right, a training opens it.",
    Rule.DRIFT: "See which columns moved and since when; a training is made once the new traffic has labels.",
    Rule.OVERDUE_LABELS: "Look after the source of labels: without them no harm can be heard and nothing is certified.",
    Rule.JUDGE_DRIFT: "Look at verdicts beside gold labels, mend the judge, or take it out of use.",
    Rule.STALE_RUNTIME: "Look at the runtime: is it cut off, or does it refuse the bundle, and why?",
    Rule.UNDECLARED_MODEL: "Correct what the gateway sends, or declare the new model: then a training is made.",
    Rule.CONSTANT_SIGNAL: "Stop the cascade until the signal varies again; the cause says where to look.",
    Rule.LATE_DECISIONS: "See whether a runtime was cut off, or the service was down.",
    Rule.PROMISE_AT_RISK: "Nothing is proved yet. Look at the slices now, before the risk alarm has to stop it.",
    Rule.DEARER_THAN_LAST: "Stop it, or gate before the answer (tiers.early); see what small answers cost.",
    Rule.OVERCONFIDENT: "See in which slice: the score was calibrated on other traffic; a training calibrates it anew.",
    Rule.MISCALIBRATED: "See whether traffic or the model changed; a training calibrates the score anew.",
    Rule.MISSING_SIGNAL: "Look at the engine: it no longer returns what the gates read, so queries escalate.",
    Rule.LABEL_STARVATION: "Label more, where it tells most (knowgate labels queue), or promise less.",
    Rule.SILENT_RUNTIME: "See whether it still runs and reaches the service; what it decides waits in its spool.",
    Rule.UNDELIVERED: "Mend the receiver, or declare another; what was given up can be sent once more.",
    Rule.JOB_BEHIND: "See in the scheduler's log and in knowgate doctor why the job fails, or waits.",
}


_LEARNED = "A training is made once a day of it has passed the label horizon."
_RESPONSES = {
    Rule.RISK: "The champion is stopped, unless the cascade asks only to be told (`alarms.on_risk`); no job puts it "
    "back.",
    Rule.SAVINGS: _LEARNED,
    Rule.DRIFT: _LEARNED,
    Rule.MISSING_SIGNAL: "Queries without the signal escalate, or go to the certified fallback.",
    Rule.UNDECLARED_MODEL: "Nothing is learned or certified from such answers.",
    Rule.LATE_DECISIONS: "Figures of their windows are computed again.",
    Rule.STALE_RUNTIME: "The runtime serves its last good pair until its lease ends, then escalates everything.",
    Rule.SILENT_RUNTIME: "The runtime serves its last good pair until its lease ends, then escalates everything.",
    Rule.JOB_BEHIND: "The job is tried again, ever later, up to once an hour.",
    Rule.UNDELIVERED: "They are tried no more, unless somebody asks for it.",
}


def missing_of(column: str) -> FigureName:
    """The figure that says how often a column of attempts is missing.

    >>> missing_of("p_t").value
    'missing_share.p_t'
    """
    return FigureName(f"missing_share.{column}")


def escalated_by(reason: Reason) -> FigureName:
    """The figure that counts escalations for `reason`.

    >>> escalated_by(Reason.OOD).value
    'escalated_share.ood'
    """
    return FigureName(f"escalated_share.{reason.value}")
