"""Evidently's metrics of our own: what the OOD gate costs, savings, calibration, missing signals.

Each asks `monitoring.figures` for figures of a cohort, as everything else does, and shows them as
Evidently shows a metric: a table with intervals and with the reasons of what has no value, a number
per figure (`name`, `name.low`, `name.high`) for tests and dashboards. A test whose number is not
there is left out: what is not known has not failed.

Importing this imports Evidently. What is stored of a run names no class of ours but in its
metrics' parameters, so `evidently ui` reads it without knowgate.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from evidently import DataDefinition
from evidently.core.datasets import PandasDataset
from evidently.core.metric_types import BoundTest, ByLabelCalculation, ByLabelMetric, ByLabelValue
from evidently.legacy.renderers.html_widgets import table_data

from monitoring.drift.signal_tables import missing_shares
from monitoring.figures.cost_figures import cost_figures
from monitoring.figures.estimates import Estimated, share
from monitoring.figures.ood_figures import ood_figures
from monitoring.figures.tier_figures import score_figures
from monitoring.names import FigureName, missing_of
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import UNITS

COLUMNS = ("figure", "value", "95 % interval", "rows", "why there is none")
CALIBRATION = (
    FigureName.ECE,
    FigureName.CALIBRATION_IN_THE_LARGE,
    FigureName.BRIER,
    FigureName.OVERCONFIDENCE,
    FigureName.AUROC_SCORE,
)


class CohortDataset(PandasDataset):  # type: ignore[misc]
    """A cohort where Evidently wants a table: it looks at none of its columns, our metrics do."""

    def __init__(self, cohort: Cohort) -> None:
        others = ("categorical", "datetime", "text", "unknown", "list")
        definition = DataDefinition(numerical_columns=["tier"], **{f"{kind}_columns": [] for kind in others})
        super().__init__(cohort.attempts[["tier"]], definition)
        self.cohort = cohort


class CohortMetric(ByLabelMetric):  # type: ignore[misc]
    """Figures of one of the report's cohorts, of one tier where `tier` says which."""

    cohort: str  # its name in the report, e.g. "the day"
    period: str  # day or week, however the cohort is called
    tier: int | None = None
    tier_name: str = ""

    class Config:
        type_alias = "evidently:metric_v2:CohortMetric"

    def get_bound_tests(self, context: Any) -> list[BoundTest]:
        """The tests whose number is known."""
        known = context.get_metric_result(self).values
        return [test for test in super().get_bound_tests(context) if test.label in known]


class OodConservativeness(CohortMetric):
    """What the OOD gate escalates alone, what that gains and costs, and whether unlike answers
    escalate oftener than like ones.
    """

    class Config:
        type_alias = "evidently:metric_v2:OodConservativeness"


class Savings(CohortMetric):
    """What is saved against the last tier alone, per unit, and what exploration cost."""

    class Config:
        type_alias = "evidently:metric_v2:Savings"


class ScoreCalibration(CohortMetric):
    """Whether the score means what it says."""

    class Config:
        type_alias = "evidently:metric_v2:ScoreCalibration"


class MissingSignals(CohortMetric):
    """How often each signal is missing."""

    class Config:
        type_alias = "evidently:metric_v2:MissingSignals"


M = TypeVar("M", bound=CohortMetric)


class CohortCalculation(ByLabelCalculation[M], Generic[M], ABC):  # type: ignore[misc]
    """One metric's figures, as Evidently keeps and shows them."""

    title: ClassVar[str]

    @abstractmethod
    def figures(self, cohort: Cohort) -> Mapping[FigureName, Estimated]:
        """The metric's figures of a cohort of at least one decision."""

    def calculate(self, context: Any, current_data: Any, reference_data: Any) -> ByLabelValue:
        """The numbers that are known; the table tells of all."""
        cohort: Cohort = context.additional_data[self.metric.cohort].cohort
        found = self.figures(cohort)
        result = self.result(dict(number for item in found.items() for number in _numbers(*item)))
        about = f"{self.display_name()}, {cohort.window.start:%Y-%m-%d %H:%M} to {cohort.window.end:%Y-%m-%d %H:%M} UTC"
        result.widget = [table_data(title=about, column_names=COLUMNS, data=[_line(*item) for item in found.items()])]
        return result

    def display_name(self) -> str:
        """What the metric is called in the report."""
        of = f" of tier {self.metric.tier_name}" if self.metric.tier is not None else ""
        return f"{self.title}{of}, {self.metric.cohort}"

    def label_display_name(self, label: Any) -> str:
        """What one of its numbers is called."""
        return f"{label}: {self.display_name()}"


class OodCalculation(CohortCalculation[OodConservativeness]):
    title = "Unlike what the probe has seen"

    def figures(self, cohort: Cohort) -> Mapping[FigureName, Estimated]:
        found = ood_figures(cohort, self.metric.tier)
        return found if cohort.mature else {FigureName.OOD_ONLY_SHARE: found[FigureName.OOD_ONLY_SHARE]}


class SavingsCalculation(CohortCalculation[Savings]):
    title = "Saved against the last tier alone"

    def figures(self, cohort: Cohort) -> Mapping[FigureName, Estimated]:
        wanted = [FigureName(f"{name}_{unit}") for name in ("savings", "exploration_cost") for unit in UNITS]
        found = cost_figures(cohort)
        return {name: found[name] for name in (FigureName.SAVED_USD, *wanted)}


class CalibrationCalculation(CohortCalculation[ScoreCalibration]):
    title = "Calibration of the score"

    def figures(self, cohort: Cohort) -> Mapping[FigureName, Estimated]:
        found = score_figures(_of_tier(cohort, self.metric.tier))
        return {name: found[name] for name in CALIBRATION}


class MissingCalculation(CohortCalculation[MissingSignals]):
    title = "Signals that are missing"

    def figures(self, cohort: Cohort) -> Mapping[FigureName, Estimated]:
        counted = missing_shares(_of_tier(cohort, self.metric.tier))
        return {missing_of(column): share(gone, rows) for column, (gone, rows) in counted.items()}


def _of_tier(cohort: Cohort, tier: int) -> Any:
    return cohort.attempts[cohort.attempts["tier"] == tier]


def _numbers(name: FigureName, figure: Estimated) -> list[tuple[str, float]]:
    ends = (("", figure.value), (".low", figure.low), (".high", figure.high))
    return [(f"{name.value}{end}", number) for end, number in ends if number is not None and math.isfinite(number)]


def _line(name: FigureName, figure: Estimated) -> list[str]:
    interval = "" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
    value = "not identified" if figure.value is None else f"{figure.value:.4g}"
    return [name.value.replace("_", " "), value, interval, f"{figure.n:,}", figure.not_identified or ""]
