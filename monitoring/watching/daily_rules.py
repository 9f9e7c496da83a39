"""The rules that need a day of traffic: OOD conservativeness, drift, overdue labels.

They look at the last whole day once per day, whatever the length of a monitoring window: an hour
holds too few rows to tell a change from chance, and a report per hour would fill the database
with charts.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from evidence.certification.certificate import Target
from knowgate._bundles.bundle import Bundle
from knowgate._records.records import Reason, Window
from knowgate.spec import TargetKind
from monitoring.drift.drift import DriftRecord, Sides, sides_of
from monitoring.drift.signal_tables import current_table, missing_shifts, reference_table
from monitoring.figures.accuracy_figures import accuracy_retained, drop
from monitoring.figures.cost_figures import savings_in
from monitoring.figures.ood_figures import ood_figures
from monitoring.figures.tier_figures import calibration_seen, overconfidence
from monitoring.names import FigureName, Rule
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import UNITS
from monitoring.rules.causes import escalation_cause
from monitoring.rules.day_figures import assess_calibration, assess_dearness, assess_overconfidence, assess_promise
from monitoring.rules.label_rules import assess_overdue, assess_starvation
from monitoring.rules.rules import Assessment, Standing, worst
from monitoring.rules.signal_rules import assess_drift, assess_ood
from monitoring.watching.reader import Reader
from store.jobs.trainer_reports import TrainingStatus

DAY = timedelta(days=1)
STARVED_AFTER = 4  # periods of training: labels that take longer are too few
REFERENCE_AT_MOST = timedelta(days=7)  # the end of the training window; more rows change no conclusion
# Four times what drift compares: vectors are shipped of some alone.
REFERENCE_DECISIONS = 20_000


def day_of(window: Window) -> Window | None:
    """The whole day, or longer window, that ends with `window`; None where no UTC day ends within
    it.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> day_of(Window(start=noon, end=noon + timedelta(hours=6))) is None
    True
    >>> day_of(Window(start=noon, end=noon + timedelta(hours=12))).start.isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    if window.start.astimezone(UTC).date() == window.end.astimezone(UTC).date():
        return None
    return Window(start=window.end - max(DAY, window.length), end=window.end)


def drift_sides(reader: Reader, champion: Bundle | None, day: Cohort) -> dict[int, Sides]:
    """Each non-last tier's signals on `day` beside the champion's training window, by tier; empty
    without one.
    """
    training = champion.document.training_window if champion is not None else None
    if champion is None or training is None:
        return {}
    start = max(training.start, training.end - REFERENCE_AT_MOST)
    reference = reader.sample(Window(start=start, end=training.end), at_most=REFERENCE_DECISIONS)
    attempts, found = day.of_bundle(champion.id).attempts, {}
    for tier, models in enumerate(champion.tiers):
        before = reference[reference["tier"] == tier].reset_index(drop=True)
        today = attempts[attempts["tier"] == tier].reset_index(drop=True)
        table = reference_table(before, models)
        sides = sides_of(table, current_table(today, models), missing_shifts(before, table, today))
        if sides is not None:
            found[tier] = sides
    return found


def assess_day(
    champion: Bundle | None, day: Cohort, records: Mapping[int, DriftRecord], before: Callable[[], Cohort | None]
) -> tuple[Assessment, ...]:
    """OOD conservativeness and drift of a day, over all non-last tiers, drift as the day's report
    found it; `before` is read where a cause needs it.
    """
    tiers = day.spec.tiers
    name = None if champion is None else champion.id
    drifting = [assess_drift(records.get(tier), tier=tiers[tier].name, champion=name) for tier in range(day.spec.last)]
    if champion is None:
        return (worst(drifting),)
    decided = day.of_bundle(champion.id)
    # A bundle made before a tier was added holds rules for fewer tiers than the cascade has now.
    thresholds = dict(enumerate(champion.document.policy.thresholds))
    gated = [
        _assess_ood(decided, tier, (thresholds.get(tier) or {}).get(Reason.OOD.value), before)
        for tier in range(day.spec.last)
    ]
    return worst(drifting), worst(gated)


def assess_labels(mature_day: Cohort) -> Assessment:
    """Whether the labels came that a mature day was to have.

    What needs labels are the explored decisions, or, while nothing is retained, all of them, but
    for those whose answers are the same: they lose nothing whatever a label says. Of labels drawn
    by a coin only the drawn share is expected, which is the harmonic mean of the chances of those
    that were drawn; where a propensity is unknown nobody can say how many there should be.
    """
    rows = mature_day.decisions
    needed = rows[rows["explored"] & ~rows["agrees"]] if rows["retained"].any() else rows
    labelled = needed["correct_kept"].notna() & (needed["correct_last"].notna() | ~needed["last_ran"])
    propensity = needed.loc[labelled, "kept_label_propensity"]
    if propensity.isna().any():
        return Assessment(rule=Rule.OVERDUE_LABELS, standing=Standing.UNKNOWN)
    expected = len(needed) * (1.0 / float((1.0 / propensity).mean()) if len(propensity) else 1.0)
    return assess_overdue(int(labelled.sum()), expected, len(needed), mature_day.spec.horizon)


def assess_costs(day: Cohort) -> Assessment:
    """Whether a day cost more than the last tier alone; in USD where prices are declared."""
    seen = ((savings_in(day, unit), unit) for unit in UNITS)
    savings, unit = next(((figure, unit) for figure, unit in seen if figure.value is not None), (None, ""))
    if savings is None or not day.decisions["retained"].any():  # what keeps nothing saves nothing, on purpose
        return Assessment(rule=Rule.DEARER_THAN_LAST, standing=Standing.UNKNOWN)
    return assess_dearness(savings, unit)


def assess_week(mature_week: Cohort) -> tuple[Assessment, ...]:
    """What the labels of a mature week say of the promise, and of the scores."""
    targets, tiers = mature_week.spec.targets, mature_week.spec.tiers
    drop_promised = targets.kind is TargetKind.MAX_ACCURACY_DROP
    figure = drop(mature_week) if drop_promised else accuracy_retained(mature_week)
    attempts = mature_week.attempts
    rows = {tier: attempts[attempts["tier"] == tier] for tier in range(mature_week.spec.last)}
    right = [assess_calibration(calibration_seen(rows[tier]), tiers[tier].name) for tier in rows]
    sure = [assess_overconfidence(overconfidence(rows[tier]), tiers[tier].name) for tier in rows]
    return assess_promise(figure, Target(kind=targets.kind, value=targets.value)), worst(sure), worst(right)


def assess_supply(reader: Reader, mature_until: datetime) -> Assessment:
    """Whether the labels that come are enough for a certificate in the near future, by what the
    last attempt lacked.
    """
    run, spec = reader.last_training(), reader.spec
    if run is None or run.outcome == TrainingStatus.NO_DATA:
        return Assessment(rule=Rule.LABEL_STARVATION, standing=Standing.UNKNOWN)
    read_until = run.window.end - spec.horizon
    since = Window(start=read_until, end=mature_until) if read_until < mature_until else None
    return assess_starvation(
        run.labels_needed,
        0 if since is None or not run.labels_needed else reader.known(since),
        reader.known(Window(start=mature_until - 7 * DAY, end=mature_until)) if run.labels_needed else 0,
        near=STARVED_AFTER * spec.schedule.train_every,
        as_of=reader.now,
    )


def _assess_ood(decided: Cohort, tier: int, threshold: float | None, before: Callable[[], Cohort | None]) -> Assessment:
    if decided.size == 0:
        return Assessment(rule=Rule.OOD_CONSERVATIVENESS, standing=Standing.UNKNOWN)
    figures = ood_figures(decided, tier)
    return assess_ood(
        figures[FigureName.OOD_ONLY_SHARE],
        figures[FigureName.OOD_AS_GOOD],
        threshold=threshold,
        tier=decided.spec.tiers[tier].name,
        cause=lambda: escalation_cause(before(), decided, only=Reason.OOD),
    )
