"""One report a day and cascade: drift of every tier, what the OOD gate costs, savings, calibration,
missing signals; in one run of Evidently.

What needs no label is of the day. What labels say is of the last mature week: a day that has just
ended has few labels, and not a fair sample of them. The tests' limits are those of the rules.

What is kept is Evidently's own snapshot as JSON, without what it says twice (styling in every
chart, widgets in every metric), a quarter of its size; the page of 4 MB is rendered from it on
demand.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import pandas as pd

from knowgate._bundles.bundle import Bundle
from knowgate._records.records import Reason, Window
from monitoring.drift.drift import DriftRecord, Sides, drift_of
from monitoring.errors import DriftUnavailable
from monitoring.figures.tier_figures import OVERCONFIDENT_FROM
from monitoring.names import FigureName, missing_of
from monitoring.rows.cohorts import Cohort
from monitoring.rules.day_figures import CALIBRATION_MARGIN
from monitoring.rules.signal_rules import OOD_MARGIN

METHOD = "wasserstein"
# What the report's cohorts are called; those that the champion decided where there is one.
DAY, WEEK, DECIDED = "the day", "the last mature week", ", as the champion decided"
_DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportParts:
    """What a day's report is made of."""

    day: Cohort
    week: Cohort | None  # the last one of which all labels are in; None = there is none yet
    champion: Bundle | None
    sides: Mapping[int, Sides]  # by tier: its columns today and in the champion's training window


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReport:
    """What Evidently said of a day, and what is stored of it."""

    window: Window
    drift: Mapping[int, DriftRecord]  # by tier
    document: str  # JSON: `drift` by tier's name, `figures`, and Evidently's snapshot as `evidently`


def daily_report(parts: ReportParts) -> DailyReport | None:
    """The report of a day; None where the day has no decision and there is nothing to compare.

    Raises DriftUnavailable where Evidently fails.
    """
    if parts.day.size == 0 and not parts.sides:
        return None
    snapshot = _run_evidently(parts)
    said = json.loads(snapshot.json())["metrics"]
    names = {tier: parts.day.spec.tiers[tier].name for tier in parts.sides}
    scores = {one["config"]["column"]: float(one["value"]) for one in said if "column" in one["config"]}
    drift = {
        tier: drift_of(sides, {column: scores[f"{names[tier]}.{column}"] for column in sides.thresholds})
        for tier, sides in parts.sides.items()
    }
    kept = _plain(json.loads(snapshot.dumps()))
    for result in kept["metric_results"].values():
        result["widget"] = []  # the page is made of the snapshot's own widgets, which say the same
    document = {
        "drift": {names[tier]: asdict(record) for tier, record in drift.items()},
        "figures": [_told(one) for one in said if "cohort" in one["config"]],
        "evidently": kept,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return DailyReport(window=parts.day.window, drift=drift, document=text)


def quiet() -> None:
    """Before Evidently is imported: it phones home on import otherwise."""
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _run_evidently(parts: ReportParts) -> Any:
    """Evidently's snapshot of all drift and all cohorts."""
    quiet()
    import plotly.io
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    from monitoring.reports.cohort_metrics import CohortDataset

    plotly.io.templates.default = None  # every chart would carry all of its styling, and none is kept
    limits = {
        f"{parts.day.spec.tiers[tier].name}.{column}": limit
        for tier, sides in parts.sides.items()
        for column, limit in sides.scores_at_threshold.items()
    }
    day = parts.day.window
    metrics = _own_metrics(parts)
    metrics += [ValueDrift(column=name, method=METHOD, threshold=limit) for name, limit in limits.items()]
    current, reference = (_side_by_side(parts, which, list(limits)) for which in ("current", "reference"))
    definition = DataDefinition(numerical_columns=list(current.columns))
    try:
        return Report(metrics, metadata=_metadata(parts), tags=["knowgate"]).run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition) if limits else None,
            additional_data={name: CohortDataset(cohort) for name, cohort in _cohorts(parts).items()},
            timestamp=day.end,
            name=f"{parts.day.spec.name} {day.start:%Y-%m-%d}",
        )
    except Exception as error:
        raise DriftUnavailable(f"Evidently failed on {list(limits)}: {type(error).__name__}: {error}") from error


def _own_metrics(parts: ReportParts) -> list[Any]:
    from evidently.tests import gte, lte

    from monitoring.reports.cohort_metrics import MissingSignals, OodConservativeness, Savings, ScoreCalibration

    cohorts, decided = _cohorts(parts), "" if parts.champion is None else DECIDED
    metrics: list[Any] = []
    if parts.day.size:
        keeps = bool(parts.day.decisions["retained"].any())  # what keeps nothing saves nothing, on purpose
        limits = {f"{FigureName.SAVINGS_USD.value}.high": [gte(0.0)]} if keeps else None
        metrics.append(Savings(cohort=DAY, period="day", tests=limits))
    for tier, declared in enumerate(parts.day.spec.tiers[:-1]):
        of: dict[str, Any] = {"tier": tier, "tier_name": declared.name}
        day, week = DAY + decided, WEEK + decided
        if _attempted(cohorts.get(day), tier):
            metrics.append(MissingSignals(cohort=day, period="day", tests=_missing_limits(parts.sides.get(tier)), **of))
            metrics.append(OodConservativeness(cohort=day, period="day", tests=_ood_limits(parts.champion, tier), **of))
        if _attempted(cohorts.get(week), tier):
            metrics.append(OodConservativeness(cohort=week, period="week", **of))
            limits = {
                f"{FigureName.OVERCONFIDENCE.value}.low": [lte(1.0 - OVERCONFIDENT_FROM)],
                f"{FigureName.CALIBRATION_IN_THE_LARGE.value}.low": [lte(CALIBRATION_MARGIN)],
                f"{FigureName.CALIBRATION_IN_THE_LARGE.value}.high": [gte(-CALIBRATION_MARGIN)],
            }
            metrics.append(ScoreCalibration(cohort=week, period="week", tests=limits, **of))
    return metrics


def _cohorts(parts: ReportParts) -> dict[str, Cohort]:
    """The report's cohorts that have any decision, by what they are called."""
    given = {DAY: parts.day} if parts.week is None else {DAY: parts.day, WEEK: parts.week}
    if parts.champion is not None:
        champion = parts.champion.id
        given |= {f"{name}{DECIDED}": cohort.of_bundle(champion) for name, cohort in given.items()}
    return {name: cohort for name, cohort in given.items() if cohort.size}


def _attempted(cohort: Cohort | None, tier: int) -> bool:
    return cohort is not None and bool((cohort.attempts["tier"] == tier).any())


def _ood_limits(champion: Bundle | None, tier: int) -> dict[str, Any] | None:
    """As the rule `ood_conservativeness` has it; None under a policy without that gate."""
    from evidently.tests import lte

    thresholds = () if champion is None else champion.document.policy.thresholds
    threshold = (thresholds[tier] or {}).get(Reason.OOD.value) if tier < len(thresholds) else None
    if threshold is None:
        return None
    return {f"{FigureName.OOD_ONLY_SHARE.value}.low": [lte(1.0 - threshold + OOD_MARGIN)]}


def _missing_limits(sides: Sides | None) -> dict[str, Any] | None:
    """As the rule `drift` has it."""
    from evidently.tests import lt

    missing = () if sides is None else sides.missing
    return {missing_of(one.column).value: [lt(one.reference_share + one.threshold)] for one in missing} or None


def _side_by_side(parts: ReportParts, which: str, wanted: Sequence[str]) -> pd.DataFrame:
    """The compared columns of all tiers in one table; shorter ones end in NaN."""
    if not wanted:
        return pd.DataFrame({"decisions": [float(parts.day.size)]})
    names = [tier.name for tier in parts.day.spec.tiers]
    tables: list[pd.DataFrame] = [
        getattr(sides, which).add_prefix(f"{names[tier]}.") for tier, sides in parts.sides.items()
    ]
    return pd.concat(tables, axis=1)[list(wanted)]


def _metadata(parts: ReportParts) -> dict[str, str]:
    day, champion = parts.day.window, parts.champion
    said = {"cascade": parts.day.spec.name, "from": day.start.isoformat(), "to": day.end.isoformat()}
    return said if champion is None else said | {"champion": champion.id}


def _told(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of ours as it is stored beside the snapshot, for whoever reads it without
    Evidently.
    """
    config = metric["config"]
    tier = config.get("tier_name") or None
    return {"cohort": config["period"], "tier": tier, "values": _plain(metric["value"])}


def _plain(value: Any) -> Any:
    """JSON values without plot templates, numbers to 5 digits; what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "template"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    return value
