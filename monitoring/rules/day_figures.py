"""Rules on figures of a day or a week: is the promise in danger, does the cascade cost more than it
saves, is it surely wrong?

Each is raised by the figure's interval and cleared by its value, so that a figure that sits on the
line does not open and close an alert every day. None of them calls for a
training: what labels say must not choose when one is made (docs/decisions/0141-when-to-train.md).
"""

from evidence.certification.certificate import Target
from knowgate.spec import TargetKind
from monitoring.figures.estimates import Estimated
from monitoring.figures.tier_figures import OVERCONFIDENT_FROM
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing

LEAST_ROWS = 50  # that a figure rests on; with fewer its rule is silent


def assess_promise(figure: Estimated, target: Target) -> Assessment:
    """Whether the mature week's drop (or retained accuracy) lies beyond what is promised.

    The risk alarm proves harm with a false-alarm rate of its own; this is likelihood, sooner and
    without proof. Raised where the estimate less half of its 95 % interval's reach (about one
    standard error, so 5 times in 6) lies beyond the target; clear where the estimate does not.
    """
    rule, drop = Rule.PROMISE_AT_RISK, target.kind is TargetKind.MAX_ACCURACY_DROP
    if figure.value is None or figure.low is None or figure.high is None or figure.n < LEAST_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    allowed = target.value if drop else 1.0 - target.value
    lost = figure.value if drop else 1.0 - figure.value
    least, most = (figure.low, figure.high) if drop else (1.0 - figure.high, 1.0 - figure.low)
    seen = f"kept answers {'lose' if drop else 'are wrong in'} {lost:.1%} ({least:.1%} to {most:.1%})"
    seen += f" of {allowed:.1%} allowed, over the last mature week"
    if lost <= allowed:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=seen)
    if (lost + least) / 2.0 <= allowed:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    details: dict[str, str | float] = {"lost": lost, "low": least, "high": most, "allowed": allowed, "rows": figure.n}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=seen, details=details)


def assess_dearness(savings: Estimated, unit: str) -> Assessment:
    """Whether a day cost more than its last tier alone would have. Clear where it did not."""
    rule = Rule.DEARER_THAN_LAST
    if savings.value is None or savings.high is None or savings.n < LEAST_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if savings.high >= 0.0:
        clear = Standing.CLEAR if savings.value >= 0.0 else Standing.UNKNOWN
        return Assessment(rule=rule, standing=clear, cause=f"the cascade saves {savings.value:.1%} in {unit}")
    cause = f"the day cost {-savings.value:.1%} more than the last tier alone would have, in {unit}, exploration apart"
    details: dict[str, str | float] = {"savings": savings.value, "high": savings.high, "unit": unit}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details)


def assess_overconfidence(wrong: Estimated, tier: str) -> Assessment:
    """Whether answers that were kept with a score of at least 0.9 are wrong oftener than 1 time in
    10: the score then promises what it does not hold.
    """
    rule, allowed = Rule.OVERCONFIDENT, 1.0 - OVERCONFIDENT_FROM
    if wrong.value is None or wrong.low is None or wrong.n < LEAST_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    seen = f"of answers that tier {tier} was sure of, with a score of at least {OVERCONFIDENT_FROM}, {wrong.value:.1%}"
    seen += " are wrong, over the last mature week"
    if wrong.low <= allowed:
        return Assessment(
            rule=rule, standing=Standing.CLEAR if wrong.value <= allowed else Standing.UNKNOWN, cause=seen
        )
    details: dict[str, str | float] = {"tier": tier, "wrong": wrong.value, "low": wrong.low, "rows": wrong.n}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=seen, details=details)
