"""What a registry is shown of a signal: risk over coverage by hand, and plots that tell it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from evidence.signals.calibration import ReliabilityBin
from training.publishing.plots import reliability_plot, risk_coverage_plot
from training.publishing.records import RiskPoint, SignalReport
from training.publishing.run_report import risk_coverage


def test_risk_is_that_of_the_surest_rows() -> None:
    points = risk_coverage(np.array([0.1, 0.9, 0.5, 0.7]), np.array([0.0, 1.0, 0.5, 0.0]))
    assert [(point.retained_share, point.risk) for point in points] == [
        (0.25, 0.0),
        (0.5, 0.5),
        (0.75, 0.5),
        (1.0, pytest.approx(2.5 / 4)),
    ]


def test_of_many_rows_fifty_shares_are_shown() -> None:
    scores = np.linspace(1.0, 0.0, 1000)
    points = risk_coverage(scores, (np.arange(1000) < 500).astype(float))
    assert len(points) == 50
    assert [point.retained_share for point in points[:2]] == [0.02, 0.04]
    assert points[-1] == RiskPoint(retained_share=1.0, risk=0.5)
    assert {point.risk for point in points if point.retained_share <= 0.5} == {0.0}


ONE = SignalReport(
    tier=0,
    signal="p_t",
    reliability=(
        ReliabilityBin(mean_score=0.2, accuracy=0.4, n=10),
        ReliabilityBin(mean_score=0.8, accuracy=0.9, n=10),
    ),
    risk_coverage=(RiskPoint(retained_share=0.5, risk=0.1), RiskPoint(retained_share=1.0, risk=0.3)),
)
BINS, RISKS = ONE.reliability, ONE.risk_coverage
Plot = Callable[[Sequence[SignalReport]], bytes]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plot", "shown", "not_shown"),
    [
        (
            reliability_plot,
            [
                replace(ONE, reliability=(replace(BINS[0], accuracy=0.5), BINS[1])),
                replace(ONE, reliability=(BINS[0], replace(BINS[1], mean_score=0.7))),
                replace(ONE, reliability=()),
                replace(ONE, signal="p_ik"),
                replace(ONE, signal="score"),
                replace(ONE, signal="margin"),
            ],
            [replace(ONE, risk_coverage=()), replace(ONE, tier=1)],
        ),
        (
            risk_coverage_plot,
            [
                replace(ONE, risk_coverage=(replace(RISKS[0], risk=0.2), RISKS[1])),
                replace(ONE, risk_coverage=(replace(RISKS[0], retained_share=0.4), RISKS[1])),
                replace(ONE, risk_coverage=()),
                replace(ONE, signal="p_ik"),
            ],
            [replace(ONE, reliability=()), replace(ONE, tier=1)],
        ),
    ],
)
def test_a_plot_shows_its_points_and_whose_they_are(
    plot: Plot, shown: list[SignalReport], not_shown: list[SignalReport]
) -> None:
    usual = plot([ONE])
    assert usual.startswith(b"\x89PNG") and usual == plot([ONE])
    assert len({usual, *(plot([one]) for one in shown)}) == len(shown) + 1
    assert {plot([one]) for one in not_shown} == {usual}, "one tier alone needs no name"
    assert len({plot([ONE, replace(ONE, tier=tier)]) for tier in (0, 1, 2)}) == 3
