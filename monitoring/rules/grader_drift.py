"""Whether machines that label err more often than before.

A grader drifts where the exact 99 % intervals of the recent and of the earlier share of errors no
longer touch; while nothing changes that happens at fewer than one look in a thousand.
"""

from evidence.bounds.binomial import clopper_pearson
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from monitoring.words import percent
from store.traffic.verdicts import Compared

LEAST_COMPARED = 30  # answers with both labels, on either side of a comparison
DRIFT_CONFIDENCE = 0.99


def assess_grader_drift(recent: Compared, earlier: Compared) -> Assessment:
    """Whether the share of wrong verdicts has risen."""
    rule, sides = Rule.JUDGE_DRIFT, []
    for seen in (recent, earlier):
        if seen.answers < LEAST_COMPARED:
            return Assessment(rule=rule, standing=Standing.UNKNOWN)
        sides.append(clopper_pearson(seen.wrong, seen.answers, confidence=DRIFT_CONFIDENCE))
    now, before = sides
    comparison = f"the judge is wrong on {percent(now.value)} of {now.n} answers, before on {percent(before.value)}"
    comparison += f" of {before.n}"
    if now.lower > before.upper:
        cause = f"{comparison}; look at its model and template, and label more gold until it is measured anew"
        details: dict[str, str | float] = {"error": now.value, "low": now.lower, "before": before.value}
        return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details)
    clear = now.value <= before.upper
    return Assessment(rule=rule, standing=Standing.CLEAR if clear else Standing.UNKNOWN, cause=comparison)
