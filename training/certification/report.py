"""What a training run says about its signals, on rows that taught nothing.

P(T) alone always stands beside what was learned, each with an interval: a probe that adds nothing
must look like it. The gain over P(T) is given three ways, each with an interval for two signals on
the same rows, and once more within slices: beyond P(T) and beyond which kind of question it is
(evidence.signals.signal_gain).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evidence.certification.nested_path import Signals
from evidence.signals.calibration import Calibration, calibration_of
from evidence.signals.quality import Figure, auroc, macro_f1
from evidence.signals.signal_gain import LEAST_COMPARED, gain_over
from knowgate._bundles.bundle import SignalGain
from training.rows.dataset import CascadeRows


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalQuality:
    """One signal of one tier against that tier's correctness."""

    tier: int
    signal: str  # p_t, p_ik or score
    auroc: Figure
    macro_f1: Figure  # right predicted at 0.5 and above
    calibration: Calibration
    gain: SignalGain | None  # over P(T); None for P(T) itself, and where not enough rows show both


def signal_quality(
    rows: CascadeRows, signals: Sequence[Signals], *, share: float | None = None
) -> tuple[SignalQuality, ...]:
    """Every signal of every non-last tier, over the rows [n] where it and the label are known.

    `share` is the retained share at which a signal is compared with P(T), over the rows that show
    both (None or 0 = a half). Signals with fewer than 20 such rows, or rows of one class, are left
    out.
    """
    qualities: list[SignalQuality] = []
    for tier, shown in enumerate(signals):
        correct = rows.tiers[tier].correct
        for name in ("p_t", "p_ik", "score"):
            values = shown[name]
            known = np.isfinite(values) & np.isfinite(correct)
            right = correct[known] >= 0.5
            if known.sum() < LEAST_COMPARED or right.all() or not right.any():
                continue
            figure = auroc(values[known], right)
            qualities.append(
                SignalQuality(
                    tier=tier,
                    signal=name,
                    auroc=figure,
                    macro_f1=macro_f1(values[known] >= 0.5, right),
                    calibration=calibration_of(values[known], correct[known]),
                    gain=None
                    if name == "p_t"
                    else gain_over(
                        values, shown["p_t"], correct, tier=tier, signal=name, share=share, slices=rows.slices
                    ),
                )
            )
    return tuple(qualities)


def quality_of(figures: Sequence[SignalQuality], signal: str, tier: int = 0) -> SignalQuality | None:
    """The figures of one signal at one tier, where they are known."""
    return next((one for one in figures if one.signal == signal and one.tier == tier), None)
