"""PopQA: what the model knows of rare and of popular subjects, how often it makes something up, and
whether its signals tell.
"""

from typing import Any

import numpy as np

from benchmarks.real_llm.judged.draws import Taught, teach
from benchmarks.real_llm.judged.means import DIGITS, Means
from benchmarks.real_llm.judged.worth import auroc_of, signals_of
from benchmarks.real_llm.recording import Outcomes, Table
from evidence.signals.quality import macro_f1
from evidence.signals.signal_gain import gain_over

Value = float | int | str | None
GROUPS = 5  # of equal size, by the subject's popularity
SIGNALS = ("p_t_first", "p_t_mean", "p_ik", "score_without_slice")


def popqa_figures(table: Table, draws: int) -> dict[str, Value]:
    """`popqa.…`: accuracies, hallucination, AUROCs of the signals."""
    ((outcomes,),) = table.outcomes.values()
    return _said(outcomes) | _signals(outcomes, draws)


def _said(outcomes: Outcomes) -> dict[str, Value]:
    assert outcomes.abstained is not None and outcomes.popularity is not None and outcomes.fingerprint is not None
    wrong = (outcomes.correct < 0.5) & ~outcomes.abstained
    figures: dict[str, Value] = {
        "popqa.n": len(outcomes.id),
        "popqa.layer": outcomes.fingerprint.layer,
        "popqa.accuracy": _rounded(outcomes.correct.mean()),
        "popqa.hallucination": _rounded(wrong.mean()),
        "popqa.abstained": _rounded(outcomes.abstained.mean()),
        "popqa.tokens_out": _rounded(outcomes.tokens_out.mean()),
        "popqa.prompt_s": _rounded(np.nanmean(outcomes.read_s)),
        "popqa.answer_s": _rounded(np.nanmean(outcomes.whole_s)),
    }
    order = np.argsort(outcomes.popularity, kind="stable")
    for number, rows in enumerate(np.array_split(order, GROUPS), start=1):
        head = f"popqa.popularity{number}"
        figures[f"{head}.up_to"] = _rounded(outcomes.popularity[rows].max())
        figures[f"{head}.n"] = len(rows)
        figures[f"{head}.accuracy"] = _rounded(outcomes.correct[rows].mean())
        figures[f"{head}.hallucination"] = _rounded(wrong[rows].mean())
    return figures


def _signals(outcomes: Outcomes, draws: int) -> dict[str, Value]:
    """On questions that taught nothing; the popularity stands beside them as a signal that a
    cascade does not have.
    """
    means = Means()
    for draw in range(draws):
        taught = teach([outcomes, outcomes], draw)
        shown = signals_of(outcomes, taught)
        assert outcomes.popularity is not None
        values = {name: shown[name] for name in SIGNALS} | {"popularity": outcomes.popularity}
        right = outcomes.correct[taught.unseen]
        for name, signal in values.items():
            value = auroc_of(signal[taught.unseen], right)
            means.add("popqa.signal", [] if value is None else [(name, value)])
        means.add("popqa.gain", _gain(outcomes, taught).items())
        if np.isfinite(shown["p_ik"]).all():
            figure = macro_f1(shown["p_ik"][taught.unseen] >= 0.5, right)
            means.add("popqa", [("macro_f1_p_ik", figure.value)])
    return means.flat()


def _gain(outcomes: Outcomes, taught: Taught) -> dict[str, float]:
    """What P(IK) adds to the mean P(T), and what of it is left within one relation."""
    rows, kinds = taught.unseen, np.array(outcomes.kind)
    p_ik, p_t, right = taught.signals["p_ik"][rows], outcomes.p_t_mean[rows], outcomes.correct[rows]
    gain = gain_over(p_ik, p_t, right, tier=0, signal="p_ik", slices=list(kinds[rows]))
    if gain is None:
        return {}
    within = {} if gain.within_slices is None else {"within_slices": gain.within_slices.auroc}
    return {"auroc": gain.auroc, **within}


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), DIGITS)
