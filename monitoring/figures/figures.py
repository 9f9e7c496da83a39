"""A cohort's figures: pure functions from the paired tables to rows with intervals.

Every figure of correctness says how many labels it rests on; where a propensity that it needs is
unknown or a stratum has no label, it has a reason and no value. An immature cohort has the same
figures, marked so: they are what is known today, and lean towards what is labelled first.
"""

from dataclasses import asdict
from datetime import datetime

from monitoring.figures.accuracy_figures import accuracy_figures
from monitoring.figures.cost_figures import cost_figures
from monitoring.figures.estimates import Estimated, share
from monitoring.figures.graders import grader_figures
from monitoring.figures.latency_figures import latency_figures
from monitoring.figures.score_errors import NONE_KNOWN, ScoreErrors
from monitoring.figures.tier_figures import tier_figures
from monitoring.figures.uncertified_figures import uncertified_figures
from monitoring.names import ESCALATES, FigureName, escalated_by
from monitoring.rows.cohorts import Cohort
from store.watching.figures import FigureRow

Named = dict[FigureName, Estimated]

SLICES_AT_MOST = 100  # per window, those with most decisions: a free-text slice must not fill the database


def figures_of(
    cohort: Cohort, *, computed_at: datetime, score_errors: ScoreErrors = NONE_KNOWN
) -> tuple[FigureRow, ...]:
    """All figures of a cohort: of the cascade, of each tier, of each slice. An empty one has
    `queries` alone, and what no certificate covers. `score_errors` are of the bundles that decided.
    """
    if cohort.size == 0:
        return _rows(cohort, {FigureName.QUERIES: count(0)} | uncertified_figures(cohort), computed_at)
    rows = _rows(cohort, cascade_figures(cohort, score_errors), computed_at)
    for tier in range(cohort.spec.last + 1):
        rows += _rows(cohort, tier_figures(cohort, tier), computed_at, tier=tier)
    for name in cohort.slices[:SLICES_AT_MOST]:
        part = cascade_figures(cohort.of_slice(name), score_errors)
        rows += _rows(cohort, _without_the_silent(part), computed_at, slice_name=name)
    return rows


def cascade_figures(cohort: Cohort, score_errors: ScoreErrors = NONE_KNOWN) -> Named:
    """The figures of the whole cascade over the cohort's decisions (at least one)."""
    decisions = cohort.decisions
    n, retained = len(decisions), int(decisions["retained"].sum())
    figures = {
        FigureName.QUERIES: count(n),
        FigureName.RETAINED_SHARE: share(retained, n),
        FigureName.ESCALATED_SHARE: share(n - retained, n),
        FigureName.EXPLORED_SHARE: share(int(decisions["explored"].sum()), n),
    }
    reasons = decisions["reason"].value_counts()
    figures |= {escalated_by(reason): share(int(reasons.get(reason.value, 0)), n) for reason in ESCALATES}
    figures |= accuracy_figures(cohort, score_errors) | grader_figures(cohort.attempts)
    figures[FigureName.CUT_RUNS] = count(int(cohort.attempts["cut"].sum()))
    figures |= cost_figures(cohort) | latency_figures(cohort)
    return figures | uncertified_figures(cohort) | label_figures(cohort)


def label_figures(cohort: Cohort) -> Named:
    """How many kept answers are labelled, and how many labels are late or missing."""
    decisions = cohort.decisions
    known = decisions["correct_kept"].notna()
    mature = known & (decisions["occurred_at"] + cohort.spec.horizon <= cohort.as_of)
    return {
        FigureName.LABEL_COVERAGE: share(int(known.sum()), len(decisions)),
        FigureName.LABELS_KNOWN: count(int(known.sum())),
        FigureName.LABELS_MATURE: count(int(mature.sum())),
        FigureName.LABELS_LATE: count(int(decisions["label_late"].sum())),
        FigureName.LABELS_OVERDUE: count(int(decisions["overdue"].sum())),
    }


def count(number: int) -> Estimated:
    """A plain count: itself, without an interval."""
    return Estimated(n=number, value=float(number))


def _without_the_silent(figures: Named) -> Named:
    """A slice shows only the gates that stopped something there, and times only where they are
    logged; there are many slices.
    """
    gates = {escalated_by(reason) for reason in ESCALATES}
    silent = {name for name in gates if not figures[name].value}
    silent |= {name for name, figure in figures.items() if name.endswith("_ms") and figure.value is None}
    return {name: figure for name, figure in figures.items() if name not in silent}


def _rows(
    cohort: Cohort, figures: Named, computed_at: datetime, *, tier: int | None = None, slice_name: str | None = None
) -> tuple[FigureRow, ...]:
    return tuple(
        FigureRow(
            cascade=cohort.spec.name,
            window=cohort.window,
            name=name.value,
            tier=tier,
            slice=slice_name,
            mature=cohort.mature,
            computed_at=computed_at,
            **asdict(figure),
        )
        for name, figure in figures.items()
    )
