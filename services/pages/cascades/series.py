"""Figures of a cascade over a time: read once, then shown as tiles and as charts on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec, TargetKind
from services.pages.cascades.promise import figure_of
from services.pages.cascades.ranges import MOST_POINTS, Range
from services.pages.charts.chart import Chart
from services.pages.charts.lines import Frame, Value, chart, stack
from services.pages.figures_shown import ESCALATIONS, REASONS, Shown, shown_mean, title_of
from services.pages.numbers import percent, points
from store.watching.figure_means import FigureMean, Wanted, joined, means

SUMMED = ("saved_usd", "exploration_cost_usd", "queries", "uncertified_queries")
# Figures of correctness: what is not mature of them leans to what is labelled first.
_OF_LABELS = (
    *("drop", "label_coverage", "accuracy", "auroc", "ece", "brier", "overconfidence", "calibration"),
    *("ood_gain", "ood_as_good"),
)
_SAVINGS = ("savings_usd", "savings_gflops")
_LATENCIES = ("latency_p50_ms", "latency_p95_ms")
_ADDED = {"escalation_added_p50_ms": "half of them", "escalation_added_p95_ms": "95 % of them"}
_WHOLE = (
    *("queries", "retained_share", *_SAVINGS, "saved_usd", "exploration_cost_usd", "drop", "uncertified_share"),
    *("accuracy_cascade", "accuracy_last", "accuracy_retained", "label_coverage", *ESCALATIONS),
    *(*_LATENCIES, *_ADDED),
)
_OF_TIER = ("auroc_p_t", "auroc_p_ik", "auroc_score", "ece", *_LATENCIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was read of one range."""

    rows: tuple[FigureMean, ...]  # per window or day, of the whole or of the slice
    of_tiers: tuple[tuple[FigureMean, ...], ...]  # per tier; empty for a slice

    def lines(self, *names: str, tier: int | None = None) -> dict[str, tuple[Value, ...]]:
        """Those that have any value, each as values in order of time."""
        rows = self.rows if tier is None else self.of_tiers[tier]
        lines = {name: values_over([row for row in rows if row.name == name]) for name in names}
        return {name: values for name, values in lines.items() if any(one.value is not None for one in values)}

    def whole(self, name: str) -> FigureMean | None:
        """The figure over the whole range: of labels what is mature, if any is."""
        parts = [row for row in self.rows if row.name == name]
        if name.startswith(_OF_LABELS):
            parts = [row for row in parts if row.mature] or parts
        return joined(parts, summed=name in SUMMED)


def read_figures(session: Session, spec: CascadeSpec, chosen: Range) -> Figures:
    """The figures of a range, as its charts want them."""
    wanted = Wanted(cascade=spec.name, names=_WHOLE, window=chosen.window, slice=chosen.slice, summed=SUMMED)
    tiers: tuple[tuple[FigureMean, ...], ...] = ()
    if chosen.slice is None:
        named = (*(_OF_TIER for _ in range(spec.last)), _LATENCIES)
        of_tier = (
            Wanted(cascade=spec.name, names=names, window=chosen.window, tier=tier) for tier, names in enumerate(named)
        )
        tiers = tuple(means(session, one, per=chosen.per, days=chosen.together) for one in of_tier)
    return Figures(rows=means(session, wanted, per=chosen.per, days=chosen.together), of_tiers=tiers)


def tiles(figures: Figures, spec: CascadeSpec, chosen: Range) -> tuple[Shown, ...]:
    """What stands at the head: the promise, what is saved, what is kept, how much traffic."""
    saved = figures.whole("saved_usd")
    money = saved is not None and saved.value is not None
    names = [figure_of(spec).value, *(savings_of(figures)), "retained_share"]
    tiles = [shown_mean(figures.whole(name), name) for name in names]
    if money and saved is not None:
        days = max(chosen.days if chosen.word != "all" else _days(saved), 1 / 24)
        tiles.insert(2, shown_mean(a_day(saved, days), "saved_usd", title="Saved a day"))
    queries = figures.whole("queries")
    return (*tiles, shown_mean(queries, "queries", title="Queries"))


def savings_of(figures: Figures) -> tuple[str, ...]:
    """Which savings are shown: in USD; in GFLOPs where there is no price, or where they tell
    something else.
    """
    usd, gflops = (figures.whole(name) for name in _SAVINGS)
    if usd is None or usd.value is None:
        return ("savings_gflops",)
    if gflops is None or gflops.value is None or abs(usd.value - gflops.value) < 0.0005:
        return ("savings_usd",)
    return _SAVINGS


def a_day(total: FigureMean, days: float) -> FigureMean:
    """An amount of a range, per day."""
    low, high = (None if bound is None else bound / days for bound in (total.low, total.high))
    value = None if total.value is None else total.value / days
    return FigureMean(
        name=total.name,
        slice=total.slice,
        mature=total.mature,
        window=total.window,
        windows=total.windows,
        n=total.n,
        value=value,
        low=low,
        high=high,
    )


def charts(figures: Figures, spec: CascadeSpec, frame: Frame) -> tuple[Chart, ...]:
    """The charts that stand at once, on one axis of time."""
    promised = figure_of(spec).value
    target = spec.targets.value
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    rule = f"promised: at most {points(target)}" if drops else f"promised: at least {percent(target)}"
    whys = {name: REASONS[name.partition(".")[2]] for name in ESCALATIONS}
    wanted = (
        chart(title_of(promised), figures.lines(promised), frame, rules=((target, rule),)),
        chart(
            "Saved",
            figures.lines(*savings_of(figures)),
            frame,
            names={"savings_usd": "cost", "savings_gflops": "computation"},
        ),
        chart(title_of("retained_share"), figures.lines("retained_share"), frame),
        stack("Why answers are sent on", figures.lines(*ESCALATIONS), frame, names=whys),
    )
    return tuple(one for one in wanted if one is not None)


def folded(figures: Figures, spec: CascadeSpec, frame: Frame) -> dict[str, tuple[Chart, ...]]:
    """The charts below the fold, by the name of their section."""
    accuracy = {"accuracy_cascade": "cascade", "accuracy_last": f"{spec.tiers[-1].name} alone"}
    signals = {"auroc_p_t": "P(T)", "auroc_p_ik": "P(IK)", "auroc_score": "score"}
    of_tiers = []
    for tier in range(len(figures.of_tiers[: spec.last])):
        of = "" if spec.last == 1 else f", {spec.tiers[tier].name}"
        lines = figures.lines(*signals, tier=tier)
        of_tiers.append(chart(f"How well each signal tells right from wrong{of}", lines, frame, names=signals))
        of_tiers.append(chart(f"{title_of('ece')}{of}", figures.lines("ece", tier=tier), frame))
    sections = {
        "accuracy": (chart("Accuracy", figures.lines(*accuracy), frame, names=accuracy),),
        "signals": tuple(of_tiers),
        "latency": _latencies(figures, spec, frame),
        "labels": (chart(title_of("label_coverage"), figures.lines("label_coverage"), frame),),
        "traffic": (
            chart("Queries", figures.lines("queries"), frame),
            chart(title_of("uncertified_share"), figures.lines("uncertified_share"), frame),
        ),
    }
    return {name: tuple(one for one in drawn if one is not None) for name, drawn in sections.items()}


def _latencies(figures: Figures, spec: CascadeSpec, frame: Frame) -> tuple[Chart | None, ...]:
    """How long the cascade and each of its tiers take, and what sending on adds."""
    drawn = []
    for name in _LATENCIES:
        lines, called = figures.lines(name), {name: "an answer, as it is waited for"}
        for tier in range(len(figures.of_tiers)):
            values = figures.lines(name, tier=tier).get(name)
            if values is not None:
                lines[f"{name}.{tier}"] = values
                called[f"{name}.{tier}"] = f"a run of {spec.tiers[tier].name}"
        drawn.append(chart(title_of(name), lines, frame, names=called))
    return (*drawn, chart("What sending on adds", figures.lines(*_ADDED), frame, names=_ADDED))


def _days(total: FigureMean) -> float:
    return (total.window.end - total.window.start) / timedelta(days=1)


def values_over(rows: Sequence[FigureMean]) -> tuple[Value, ...]:
    """One value per time: the mature one where there are both; neighbours put together where they
    are too many to be seen.
    """
    by_start: dict[datetime, FigureMean] = {}
    for row in rows:
        if row.window.start not in by_start or row.mature:
            by_start[row.window.start] = row
    chosen = [by_start[start] for start in sorted(by_start)]
    size = -(-len(chosen) // MOST_POINTS)
    if size > 1:
        groups = [chosen[at : at + size] for at in range(0, len(chosen), size)]
        chosen = [one for group in groups if (one := joined(group, summed=group[0].name in SUMMED)) is not None]
    return tuple(
        Value(at=_middle(row.window), value=row.value, low=row.low, high=row.high, n=row.n, mature=_settled(row))
        for row in chosen
    )


def _middle(window: Window) -> datetime:
    return window.start + (window.end - window.start) / 2


def _settled(row: FigureMean) -> bool:
    """Whether labels that are still coming in cannot move it."""
    return row.mature or not row.name.startswith(_OF_LABELS)
