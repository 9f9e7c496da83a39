"""The two plots of a training run: does a score mean what it says, and what does
keeping more cost.
"""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.publishing.records import SignalReport

_NAMES = {"p_t": "P(T) alone", "p_ik": "P(IK)", "score": "score"}


def reliability_plot(signals: Sequence[SignalReport]) -> bytes:
    """Accuracy over mean score in bins of equal mass, as PNG."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="calibrated")
    for one in signals:
        points = one.reliability
        axes.plot([p.mean_score for p in points], [p.accuracy for p in points], marker="o", label=_label(one, signals))
    axes.set(xlabel="mean score", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    axes.legend()
    return _png(figure)


def risk_coverage_plot(signals: Sequence[SignalReport]) -> bytes:
    """Share of wrong answers among the kept ones over the kept share, as PNG."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for one in signals:
        points = one.risk_coverage
        axes.plot([p.retained_share for p in points], [p.risk for p in points], label=_label(one, signals))
    axes.set(xlabel="retained share", ylabel="wrong among retained", xlim=(0, 1), title="Risk and coverage")
    axes.set_ylim(bottom=0)
    axes.legend()
    return _png(figure)


def _label(one: SignalReport, signals: Sequence[SignalReport]) -> str:
    name = _NAMES.get(one.signal, one.signal)
    return name if len({signal.tier for signal in signals}) == 1 else f"tier {one.tier}: {name}"


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
