"""The rules that look at every window, and how the word of every rule counts beside what it said
before.
"""

import json
from collections.abc import Sequence

from knowgate._bundles.bundle import Bundle
from knowgate._records.records import Reason, Window
from monitoring.drift.drift import MissingShift, missing_shift
from monitoring.drift.signal_tables import SignalSpread, missing_shares, signal_spreads
from monitoring.names import Rule
from monitoring.rows.cohorts import Cohort
from monitoring.rules.models import assess_cohort_models
from monitoring.rules.patience import Looks, patience_of, patiently
from monitoring.rules.rules import Assessment, Standing
from monitoring.rules.service_rules import assess_deliveries, assess_jobs, assess_runtimes, assess_silence
from monitoring.rules.signal_rules import assess_constant, assess_missing
from monitoring.watching.reader import Champion, Reader
from monitoring.words import short

# What a gate's signal is made of: where one of these is gone, so is what the gate reads.
_MADE_OF = {"score": ("score", "p_t", "p_ik"), "p_t": ("p_t",), "p_ik": ("p_ik",), "ood": ("ood",)}


def of_one_window(cohort: Cohort) -> tuple[Assessment, ...]:
    """What the rules say that look at one window and nothing else."""
    return assess_cohort_models(cohort), assess_constant(spreads_of(cohort))


def of_now(reader: Reader, current: Cohort, champion: Champion) -> tuple[Assessment, ...]:
    """What the rules say that compare a window with the days before, or look at what runs now."""
    ticks, busy = reader.jobs()
    runtimes = reader.acknowledgements()
    return (
        assess_runtimes(champion.assignment, runtimes, now=reader.now),
        assess_silence(runtimes, now=reader.now),
        assess_jobs(ticks, busy=busy, now=reader.now),
        assess_deliveries(*reader.messages()),
        _missing(reader, current, champion.bundle),
    )


def spreads_of(cohort: Cohort) -> tuple[SignalSpread, ...]:
    """How the signals of every non-last tier varied over a cohort."""
    names = [tier.name for tier in cohort.spec.tiers[:-1]]
    rows = (cohort.attempts[cohort.attempts["tier"] == tier] for tier in range(len(names)))
    return tuple(spread for part, name in zip(rows, names, strict=True) for spread in signal_spreads(part, name))


def _missing(reader: Reader, current: Cohort, bundle: Bundle | None) -> Assessment:
    """Whether signals that the champion's gates read went missing since the week before."""
    if bundle is None:
        return Assessment(rule=Rule.MISSING_SIGNAL, standing=Standing.UNKNOWN)
    looks = reader.looks(Rule.MISSING_SIGNAL)
    began = looks.began if looks is not None and looks.began is not None else current.window.start
    before = reader.missing_before(began)
    tiers = []
    for tier, gates in enumerate(bundle.document.policy.thresholds[: current.spec.last]):
        now = missing_shares(current.attempts[current.attempts["tier"] == tier])
        columns = dict.fromkeys(column for gate in gates or () for column in _MADE_OF.get(gate, ()))
        shifts = (missing_shift(column, before.get((tier, column), (0, 0)), now[column]) for column in columns)
        tiers.append((current.spec.tiers[tier].name, [shift for shift in shifts if isinstance(shift, MissingShift)]))
    reasons = current.decisions["reason"]
    escalated = float((reasons == Reason.MISSING_SIGNAL.value).mean()) if len(reasons) else None
    return assess_missing(tiers, since=began, escalated=escalated)


def superseded(reader: Reader, champion: Champion) -> tuple[Assessment, ...]:
    """The end of a drift alert against a former champion, where one is in force that was made from
    newer traffic: what moved since then is another question.
    """
    alert, bundle = reader.open_alerts().get(Rule.DRIFT), champion.bundle
    if alert is None or bundle is None or bundle.document.training_window is None:
        return ()
    against = json.loads(alert.details).get("champion")
    if against is None or against == bundle.id:
        return ()
    made_until, former = bundle.document.training_window.end, reader.training_window(against)
    if former is not None and made_until <= former.end:
        return ()
    made = f"made from traffic up to {made_until:%Y-%m-%d %H:%M} UTC"
    cause = f"superseded: bundle {short(bundle.id)} is in force, {made}"
    return (Assessment(rule=Rule.DRIFT, standing=Standing.CLEAR, cause=cause),)


def with_patience(
    reader: Reader, assessments: Sequence[Assessment], window: Window, *, closed: frozenset[Rule]
) -> tuple[tuple[Assessment, ...], tuple[Looks, ...]]:
    """The assessments beside what their rules said before, and what is to be remembered anew.

    The alerts of the rules in `closed` are closed already, and what was said of them is forgotten.
    """
    judged, remembered = [], []
    for assessment in assessments:
        rule = assessment.rule
        alert = None if rule in closed else reader.open_alerts().get(rule)
        details = None if alert is None else json.loads(alert.details)
        known = reader.looks(rule) if patience_of(rule) is not None and rule not in closed else None
        looks, said = patiently(known, assessment, window, open_details=details)
        judged.append(said)
        if looks is not None and (known is None or (looks.said, looks.began) != (known.said, known.began)):
            remembered.append(looks)
    return tuple(judged), tuple(remembered)
