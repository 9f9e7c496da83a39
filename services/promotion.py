"""The promotion check: what a certified challenger must show before it decides.

1. It is certified: its own certificate keeps the target against the last tier.
2. Against what is in force on the same rows, it loses no more accuracy than the target allows (the same exact or
   betting test, paired), or what is in force keeps nothing, so that the certificate already says so.
3. It does not give savings away, unless the champion was stopped or has been shown to break its promise.

The trainer makes the paired comparison on the certification rows, the only ones that neither bundle has learned
from; here it is judged against what is in force at this moment. If that has moved since, the comparison says nothing
about it and the challenger is refused.
"""

from dataclasses import dataclass

from knowgate.assignment import Assignment, Mode
from knowgate.bundle_documents import BundleDocument, CertificateDocument, CertificateStatus, ComparisonDocument

SAVINGS_TOLERANCE = 0.01  # of the last tier's cost: a smaller loss is noise


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCheck:
    """The verdict on a challenger, with everything it rests on."""

    passed: bool
    reason: str
    champion: str | None  # in force at the time of the check
    stopped: bool  # the champion was told to keep nothing
    certificate: CertificateDocument | None
    comparison: ComparisonDocument | None


def check_promotion(challenger: BundleDocument, in_force: Assignment) -> PromotionCheck:
    """Judge `challenger` against what is in force."""
    certificate, comparison = challenger.certificate, challenger.comparison
    stopped = in_force.mode is Mode.ESCALATE_ALL
    passed, reason = _judge(certificate, comparison, in_force.champion, stopped)
    return PromotionCheck(
        passed=passed,
        reason=reason,
        champion=in_force.champion,
        stopped=stopped,
        certificate=certificate,
        comparison=comparison,
    )


def _judge(
    certificate: CertificateDocument | None, comparison: ComparisonDocument | None, champion: str | None, stopped: bool
) -> tuple[bool, str]:
    if certificate is None or certificate.status is not CertificateStatus.CERTIFIED:
        return False, "it carries no certificate"
    if certificate.savings is not None and certificate.savings <= 0:
        return False, f"it saves nothing: {certificate.savings:.1%} of the last tier's cost"
    if champion is None or stopped:
        return True, "certified, and what is in force keeps nothing"
    if comparison is None or comparison.champion != champion:
        return False, f"it was not compared with champion {champion[:12]}, which came into force meanwhile"
    return _compare(comparison)


def _compare(comparison: ComparisonDocument) -> tuple[bool, str]:
    dropped = (
        f"{comparison.estimated_drop:+.4f} accuracy against the champion, at most {comparison.drop_upper_bound:+.4f}"
    )
    if comparison.harmful:
        return False, f"it is less accurate than the champion by more than {comparison.epsilon}: {dropped}"
    if not comparison.passed:
        return False, f"too little evidence that it is as accurate as the champion: {dropped}, on {comparison.n} rows"
    if comparison.champion_broken:
        return True, f"the champion no longer keeps its promise, and {dropped}"
    if comparison.savings_gain is not None and comparison.savings_gain < -SAVINGS_TOLERANCE:
        return False, f"it would give away {-comparison.savings_gain:.1%} of the last tier's cost in savings"
    return True, f"as accurate as the champion ({dropped}), and it saves no less"
