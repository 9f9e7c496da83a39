"""`report`: certificates, signals and savings of the committed recording, over many random splits.

Figures are flat: `FORM.…`. `FORM.PRICING.EPSILON.WAY.FIGURE` is a certificate's, `FORM.signal.…` an
AUROC, `FORM.untaught.…` of a kind of question that taught nothing, `popqa.…` of PopQA. Each has its
standard error over the draws beside it (`.se`).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.real_llm.judged.draws import Taught, teach
from benchmarks.real_llm.judged.means import Means
from benchmarks.real_llm.judged.popqa_report import popqa_figures
from benchmarks.real_llm.judged.prices import (
    PROCESSOR_USD_PER_HOUR,
    SEARCH_USD,
    Costs,
    Pricing,
    costs_of,
    token_seconds,
)
from benchmarks.real_llm.judged.ways import WAYS, Kept, Tried, Way, targets_of, tried
from benchmarks.real_llm.judged.worth import worth_untaught, worths
from benchmarks.real_llm.recording import FACTS, FOLDER, POPQA, Outcomes, Table, read_table

Value = float | int | str | None
DRAWS, UNTAUGHT_DRAWS = 8, 2
EPSILONS = (0.02, 0.05)
DELTA = 0.1
PER_KIND = (Pricing.SEARCH, EPSILONS[-1])  # where figures are also given per kind of question
UNTAUGHT_WAYS = tuple(way for way in WAYS if way.name in ("p_ik_early", "gates_early", "score"))

log = logging.getLogger(__name__)


def report(*, draws: int = DRAWS, untaught_draws: int = UNTAUGHT_DRAWS, folder: Path = FOLDER) -> dict[str, Value]:
    """All figures of what is recorded in `folder`. Raises RealModelError where nothing is."""
    figures: dict[str, Value] = {
        "draws": draws,
        "draws_untaught": untaught_draws,
        "delta": DELTA,
        "search_usd": SEARCH_USD,
        "processor_usd_per_hour": PROCESSOR_USD_PER_HOUR,
    }
    if (folder / POPQA).is_file() or not (folder / FACTS).is_file():
        table = read_table(folder / POPQA)
        figures |= _origin(table) | popqa_figures(table, draws)
    if (folder / FACTS).is_file():
        table = read_table(folder / FACTS)
        figures |= _origin(table)
        for form, tiers in table.outcomes.items():
            figures |= _recorded(form, tiers)
            figures |= _certified(form, tiers, draws)
            figures |= _untaught(form, tiers, untaught_draws)
    return figures


def _origin(table: Table) -> dict[str, Value]:
    return {name: str(table.made[name]) for name in ("weights", "gguf_sha256", "dtype", "processor")}


def _recorded(form: str, tiers: Sequence[Outcomes]) -> dict[str, Value]:
    """What was recorded: accuracies and seconds."""
    first, kinds = tiers[0], np.array(tiers[0].kind)
    assert first.fingerprint is not None
    figures: dict[str, Value] = {f"{form}.n": len(first.id), f"{form}.layer": first.fingerprint.layer}
    figures[f"{form}.rows_that_chose_the_layer"] = int(first.chose_layer.sum())
    for tier, outcomes in enumerate(tiers):
        rate = token_seconds(outcomes)
        read_s, whole_s = outcomes.read_s, outcomes.whole_s
        figures |= {
            f"{form}.tier{tier}.accuracy": round(float(outcomes.correct.mean()), 6),
            f"{form}.tier{tier}.tokens_in": round(float(outcomes.tokens_in.mean()), 2),
            f"{form}.tier{tier}.tokens_out": round(float(outcomes.tokens_out.mean()), 2),
            f"{form}.tier{tier}.prompt_s": round(float(np.nanmean(read_s)), 4),
            f"{form}.tier{tier}.answer_s": round(float(np.nanmean(whole_s)), 4),
            f"{form}.tier{tier}.measured": rate.n,
            f"{form}.tier{tier}.error": round(rate.error, 4),
        }
        for kind in dict.fromkeys(first.kind):
            right = outcomes.correct[kinds == kind]
            figures[f"{form}.kind.{kind}.n"] = len(right)
            figures[f"{form}.kind.{kind}.accuracy{tier}"] = round(float(right.mean()), 6)
    return figures


def _certified(form: str, tiers: Sequence[Outcomes], draws: int) -> dict[str, Value]:
    costs = {pricing: costs_of(tiers, pricing) for pricing in Pricing}
    means = Means()
    for draw in range(draws):
        taught = teach(tiers, draw)
        means.add(f"{form}.signal", worths(tiers[0], taught))
        for pricing, priced in costs.items():
            for epsilon in EPSILONS:
                kinds = tuple(dict.fromkeys(tiers[0].kind)) if (pricing, epsilon) == PER_KIND else ()
                _add_ways(means, f"{form}.{pricing}.{epsilon}", tiers, taught, WAYS, priced, epsilon, kinds=kinds)
        log.info("%s: draw %d of %d", form, draw + 1, draws)
    return means.flat()


def _untaught(form: str, tiers: Sequence[Outcomes], draws: int) -> dict[str, Value]:
    """Each kind in turn taught nothing: what P(IK) says of it, and what is certified
    all the same.
    """
    costs = costs_of(tiers, Pricing.SEARCH)
    means = Means()
    for kind in dict.fromkeys(tiers[0].kind):
        for draw in range(draws):
            taught = teach(tiers, draw, untaught=kind)
            means.add(f"{form}.signal", worth_untaught(tiers[0], taught, kind))
            head, ways = f"{form}.untaught.{kind}", UNTAUGHT_WAYS
            _add_ways(means, head, tiers, taught, ways, costs, EPSILONS[-1], kinds=(kind,))
        log.info("%s: without %s", form, kind)
    return means.flat()


def _add_ways(
    means: Means,
    head: str,
    tiers: Sequence[Outcomes],
    taught: Taught,
    ways: Sequence[Way],
    costs: Costs,
    epsilon: float,
    *,
    kinds: Sequence[str] = (),
) -> None:
    for way in ways:
        one = tried(tiers, taught, way, costs, targets_of(epsilon, DELTA))
        means.add(f"{head}.{way.name}", _figures(one, one.kept).items())
        for kind in kinds:
            means.add(f"{head}.{way.name}.{kind}", _kept(one.by_kind[kind]).items())


def _figures(one: Tried, kept: Kept) -> Mapping[str, float]:
    return {"certified": float(one.certified), "by_rule": float(one.by_rule), **_kept(kept)}


def _kept(kept: Kept) -> Mapping[str, float]:
    return {name: getattr(kept, name) for name in Kept.__slots__}
