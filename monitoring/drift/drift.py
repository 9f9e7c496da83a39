"""Does today's traffic look like the traffic that the champion was made from? The only module that
knows Evidently.

Columns are compared one by one with the normed Wasserstein distance: the mean shift of the sorted
values in reference standard deviations, readable and not blown up by many rows as a p-value is. On
few rows chance alone moves it, so a column's threshold is 0.1, or 2.5/√rows where that is more. A
column that hardly varies in the reference is measured against a least spread, or any difference at
all would be many deviations.

What is missing has no value to compare, so how often each column is missing is compared beside its
values.

What is kept is Evidently's own snapshot as JSON, without what it says twice (styling in every
chart, charts in every metric), a quarter of its size; the page of 4 MB is rendered from it on
demand. Evidently takes seconds to import, so that happens when the first comparison is made.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from math import isfinite, sqrt
from typing import Any

import pandas as pd

from monitoring.errors import DriftUnavailable

METHOD = "wasserstein"
THRESHOLD = 0.1  # reference standard deviations
LEAST_ROWS = 50  # of a column on either side; with fewer it is left out
LEAST_SPREAD = 0.05  # of a reference column, and the same share of its mean where that is above 1
MISSING_MORE = 0.05  # of a side's attempts: a column that is missing in so many more than before drifts
MOST_ROWS = 5000  # per side, evenly spaced over time; more rows change no conclusion
EVIDENTLY_LEAST = 0.001  # the smallest standard deviation that Evidently divides by
_DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """One column of today against the reference."""

    column: str
    score: float  # normed Wasserstein distance, in reference standard deviations
    threshold: float
    drifted: bool
    reference_mean: float
    current_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingShift:
    """How often one column is missing, today beside the reference."""

    column: str
    reference_share: float
    current_share: float
    threshold: float  # by which the share may rise

    @property
    def drifted(self) -> bool:
        return self.current_share - self.reference_share >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRecord:
    """All columns that could be compared, and what is stored of it."""

    columns: tuple[ColumnDrift, ...]
    left_out: tuple[str, ...]  # columns with too few rows on one side
    reference_rows: int
    current_rows: int
    document: str  # JSON: this record without itself, and Evidently's snapshot
    missing: tuple[MissingShift, ...] = ()

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns beyond their threshold, furthest first."""
        return tuple(sorted((c for c in self.columns if c.drifted), key=lambda c: c.threshold / c.score))


def missing_shift(column: str, reference: tuple[int, int], current: tuple[int, int]) -> MissingShift | None:
    """A column's (missing, rows) on both sides, compared; None where a side has too few rows.

    >>> missing_shift("p_t", (0, 500), (400, 400)).drifted
    True
    >>> missing_shift("p_t", (20, 500), (18, 400)).drifted
    False
    """
    (absent, before), (gone, now) = reference, current
    if min(before, now) < LEAST_ROWS:
        return None
    together = (absent + gone) / (before + now)
    chance = 2.5 * sqrt(together * (1.0 - together) * (1.0 / before + 1.0 / now))
    return MissingShift(
        column=column,
        reference_share=absent / before,
        current_share=gone / now,
        threshold=max(MISSING_MORE, chance),
    )


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, missing: tuple[MissingShift, ...] = ()
) -> DriftRecord | None:
    """Compare the columns that both tables have (floats, NaN = missing); None where there is
    nothing to compare.

    Raises DriftUnavailable where Evidently fails.
    """
    reference, current = _thinned(reference), _thinned(current)
    shared = [name for name in reference.columns if name in current.columns]
    known = {name: min(int(reference[name].notna().sum()), int(current[name].notna().sum())) for name in shared}
    columns = [name for name in shared if known[name] >= LEAST_ROWS]
    if not columns and not missing:
        return None
    thresholds = {name: max(THRESHOLD, 2.5 / sqrt(known[name])) for name in columns}
    widened = {name: _widened(reference[name]) for name in columns}
    # Evidently's own page is to say the same: its scores are larger by as much as its thresholds
    # are.
    theirs = {name: limit * widened[name] for name, limit in thresholds.items()}
    raw, snapshot = _run_evidently(reference[columns], current[columns], theirs) if columns else ({}, None)
    scores = {name: raw[name] / widened[name] for name in columns}
    compared = tuple(
        ColumnDrift(
            column=name,
            score=scores[name],
            threshold=thresholds[name],
            drifted=scores[name] >= thresholds[name],
            reference_mean=float(reference[name].mean()),
            current_mean=float(current[name].mean()),
        )
        for name in columns
    )
    record = DriftRecord(
        columns=compared,
        left_out=tuple(name for name in shared if name not in columns),
        reference_rows=len(reference),
        current_rows=len(current),
        document="",
        missing=missing,
    )
    document = {name: value for name, value in asdict(record).items() if name != "document"} | {"evidently": snapshot}
    return replace(record, document=json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False))


def render_html(document: str) -> str:
    """Evidently's page of a stored report. Raises DriftUnavailable where the document
    is not one.
    """
    _quiet()
    from evidently.core.report import Snapshot

    try:
        snapshot = json.dumps(json.loads(document)["evidently"])
        page: str = Snapshot.loads(snapshot).get_html_str(as_iframe=False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriftUnavailable(f"the stored document is no drift report ({error}); run the window again") from error
    return page


def _run_evidently(
    reference: pd.DataFrame, current: pd.DataFrame, thresholds: dict[str, float]
) -> tuple[dict[str, float], Any]:
    """The score per column, and the snapshot as plain JSON values."""
    _quiet()
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(numerical_columns=list(thresholds))
    metrics = [ValueDrift(column=name, method=METHOD, threshold=limit) for name, limit in thresholds.items()]
    try:
        snapshot = Report(metrics).run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )
        values = {
            metric["config"]["column"]: float(metric["value"]) for metric in json.loads(snapshot.json())["metrics"]
        }
        kept = _plain(json.loads(snapshot.dumps()))
        for result in kept["metric_results"].values():
            result["widget"] = []  # the page is made of the snapshot's own widgets, which say the same
    except Exception as error:
        raise DriftUnavailable(f"Evidently failed on {list(thresholds)}: {type(error).__name__}: {error}") from error
    return values, kept


def _plain(value: Any) -> Any:
    """JSON values without plot templates, numbers to 5 digits; what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "template"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    return value


def _widened(reference: "pd.Series[float]") -> float:
    """How many times Evidently's norm of a column the least spread is that is measured against; 1
    where it varies.
    """
    spread, norm = float(reference.std(ddof=0)), EVIDENTLY_LEAST
    return max(spread, LEAST_SPREAD * max(1.0, abs(float(reference.mean())))) / max(spread, norm)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    step = max(1, -(-len(rows) // MOST_ROWS))
    return rows.iloc[::step].reset_index(drop=True)


def _quiet() -> None:
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently phones home on import otherwise
