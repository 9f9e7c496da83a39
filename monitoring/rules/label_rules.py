"""Rules on labels: those that stay away, and those that are too few for a certificate."""

from datetime import datetime, timedelta

from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing

OVERDUE_ROWS = 20  # decisions past the horizon that should be labelled
OVERDUE_SHARE = 0.5  # of the labels that were to be there


def assess_overdue(labelled: int, expected: float, decisions: int, horizon: timedelta) -> Assessment:
    """Raised where fewer than half of the labels came that were to be there once the horizon had
    passed.

    `decisions` were explored and need labels of both tiers; `expected` of them were to be drawn,
    `labelled` are.
    """
    rule = Rule.OVERDUE_LABELS
    if decisions < OVERDUE_ROWS or expected <= 0.0:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if labelled >= OVERDUE_SHARE * expected:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=f"{labelled} of {expected:.0f} labels are there")
    hours = horizon.total_seconds() / 3600
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=(
            f"{labelled} of {expected:.0f} labels came for {decisions} explored queries older than the horizon of"
            f" {hours:.0f} hours; risk cannot be watched without them"
        ),
        details={"labelled": labelled, "expected": expected, "decisions": decisions},
    )


def assess_starvation(
    needed: int | None, known_since: int, known_a_week: int, *, near: timedelta, as_of: datetime
) -> Assessment:
    """Raised where labels come, but at a rate that brings those which the last attempt lacked later
    than `near` from now.

    `needed` labelled decisions were lacking, None where labels would not have helped;
    `known_since` have come since, `known_a_week` in the last mature week.
    """
    rule = Rule.LABEL_STARVATION
    missing = 0 if needed is None else max(0, needed - known_since)
    if missing == 0:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="the last attempt lacks no more labels")
    if known_a_week == 0:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)  # none come at all: `overdue_labels` hears that
    wait = missing / known_a_week * timedelta(days=7)
    said = f"{known_a_week} decisions were labelled in the last mature week, and the next certificate needs about"
    said += f" {missing} more"
    if wait <= near:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=f"{said}: enough by {as_of + wait:%Y-%m-%d}")
    weeks = wait / timedelta(days=7)
    cause = f"{said}: at this rate in {weeks:.0f} weeks; {missing / (near / timedelta(days=7)):.0f} a week would do"
    details: dict[str, str | float] = {"needed": missing, "known_a_week": known_a_week, "weeks": round(weeks, 1)}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details)
