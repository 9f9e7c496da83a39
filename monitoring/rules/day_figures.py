"""Rules on figures of a day or a week: is the promise in danger, does the cascade cost more than it
saves, is it surely wrong?

Each is raised by the figure's interval and cleared by its value, so that a figure that sits on the
line does not open and close an alert every day. None of them calls for a
training: what labels say must not choose when one is made (docs/decisions/0141-when-to-train.md).
"""

from evidence.certification.certificate import Target
from evidence.signals.calibration import Calibration
from knowgate.spec import TargetKind
from monitoring.figures.estimates import Estimated
from monitoring.figures.tier_figures import OVERCONFIDENT_FROM
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from monitoring.words import percent, points, unit_named

CALIBRATION_ROWS = 100  # labelled answers; 15 bins of fewer tell nothing
CALIBRATION_MARGIN = 0.05  # scores that are off by less mislead nobody
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
    if drop:
        seen = f"kept answers lose {points(lost)} points of accuracy ({points(least)} to {points(most)}),"
        seen += f" {points(allowed)} are allowed, over the last mature week"
    else:
        seen = f"{percent(lost)} of kept answers are wrong ({percent(least)} to {percent(most)}),"
        seen += f" {percent(allowed)} may be, over the last mature week"
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
        return Assessment(
            rule=rule, standing=clear, cause=f"the cascade saves {percent(savings.value)} in {unit_named(unit)}"
        )
    cause = f"the day cost {percent(-savings.value)} more than the last tier alone would have, in {unit_named(unit)},"
    cause += " exploration apart"
    details: dict[str, str | float] = {"savings": savings.value, "high": savings.high, "unit": unit}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details)


def assess_overconfidence(wrong: Estimated, tier: str) -> Assessment:
    """Whether answers that were kept with a score of at least 0.9 are wrong oftener than 1 time in
    10: the score then promises what it does not hold.
    """
    rule, allowed = Rule.OVERCONFIDENT, 1.0 - OVERCONFIDENT_FROM
    if wrong.value is None or wrong.low is None or wrong.n < LEAST_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    seen = f"{percent(wrong.value)} of the answers that tier {tier} was sure of (a score of at least"
    seen += f" {percent(OVERCONFIDENT_FROM)}) are wrong, {percent(allowed)} may be, over the last mature week"
    if wrong.low <= allowed:
        return Assessment(
            rule=rule, standing=Standing.CLEAR if wrong.value <= allowed else Standing.UNKNOWN, cause=seen
        )
    details: dict[str, str | float] = {"tier": tier, "wrong": wrong.value, "low": wrong.low, "rows": wrong.n}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=seen, details=details)


def assess_calibration(seen: tuple[Calibration, Estimated] | None, tier: str) -> Assessment:
    """Whether a tier's score says another chance of being right than labels show, beyond what so
    few labels show by chance.

    On average over all answers: the 95 % interval of the difference lies beyond 5 points. Or from
    bin to bin: the calibration error exceeds by 5 points what calibrated scores would show in all
    but 1 of 700 looks.
    """
    rule = Rule.MISCALIBRATED
    if seen is None or seen[0].n < CALIBRATION_ROWS or seen[1].low is None or seen[1].high is None:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    shown, (usual, spread) = seen[0], seen[0].error_by_chance()
    error, lean = shown.expected_calibration_error, shown.in_the_large
    leans = max(seen[1].low, -seen[1].high) > CALIBRATION_MARGIN
    bends = error - usual - 3.0 * spread > CALIBRATION_MARGIN
    how = f"too {'modest' if lean > 0 else 'sure'} by {points(abs(lean))} points" if abs(lean) >= 0.0005 else "right"
    said = (
        f"scores of tier {tier} are {how} on average, and off by {points(error)} points from score to score, of which"
    )
    said += f" chance makes {points(usual)}, on {shown.n} labelled answers of the last mature week"
    if not (leans or bends):
        within = abs(lean) <= CALIBRATION_MARGIN and error - usual <= CALIBRATION_MARGIN
        return Assessment(rule=rule, standing=Standing.CLEAR if within else Standing.UNKNOWN, cause=said)
    details: dict[str, str | float] = {"tier": tier, "mean_difference": lean, "error": error, "by_chance": usual}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=said, details=details | {"rows": shown.n})
