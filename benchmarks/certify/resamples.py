"""Do certified thresholds keep their promise, and how much do they retain?

Calibration rows are drawn with replacement from recorded outcomes, so the true drop of a threshold
is known. Beside the product's certificate, on the same resamples: the reference betting bound, the
plug-in choice, a Hoeffding bound, MAPIE where it applies and is at hand, and the optimum. Then
chains of three tiers, weighted labels, and synthetic populations that were built to hurt. Seeds are
fixed here; nothing was tuned on the files beyond mmlu_llama3, arc_gpt35 and hellaswag_llama3. The
shares of three tiers are those of one path that opens them together; what the product's paths save
is `chain_savings_share`, of the best pair of thresholds on the population.
`*_errors` are Monte-Carlo standard errors above δ.
"""

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.certify.chain import chain_savings
from benchmarks.certify.ours import HELD_TO_PRODUCT, Sample, certified
from benchmarks.certify.populations import THREE_TIERS, TWO_TIERS, Population, recorded, synthetic
from benchmarks.certify.rivals import Candidates, Choice, by_mapie, kept_under, loss_under, rival_path, rivals
from benchmarks.certify.weighted import SCENARIOS, measure_scenario
from benchmarks.shape import Figures, recorded_data
from knowgate._records.arrays import IntArray

EPSILON, DELTA = 0.02, 0.1
THREE_TIER_EPSILON = 0.05  # the recorded chain's small tiers are far behind its last one
WEIGHTED_ROWS = 10_000  # the larger of the two sizes of a weighted log
SYNTHETIC_ROWS = 1500
CHAIN_RESAMPLES = 200  # each asks the whole product, along every path
Flat = dict[str, float | int | str | None]


def measure(quick: bool) -> Figures:
    reps = 40 if quick else 1000
    figures: Flat = {"epsilon": EPSILON, "delta": DELTA, "resamples": reps}
    with ProcessPoolExecutor(max_workers=2) as pool:
        running = {name: pool.submit(function, *arguments) for name, (function, arguments) in _pieces(reps).items()}
        for name, piece in running.items():
            figures |= {f"{name}.{key}": value for key, value in piece.result().items()}
            sys.stderr.write(f"{name}\n")
    return _summary(figures, reps) | figures


Piece = tuple[Callable[..., Mapping[str, float | int | str | None]], tuple[object, ...]]


def _pieces(reps: int) -> dict[str, Piece]:
    """Everything that is measured, by name; the slowest first, so that two processes
    end together.
    """
    pieces: dict[str, Piece] = {}
    folder = recorded_data()
    if folder is not None:
        populations = {name: (recorded(folder, name), EPSILON) for name in TWO_TIERS}
        populations |= {name: (recorded(folder, name), THREE_TIER_EPSILON) for name in THREE_TIERS}
        for name, (population, epsilon) in populations.items():
            for scenario in SCENARIOS:
                for size, n in (("own_n", population.n), ("larger_n", WEIGHTED_ROWS)):
                    setting = (scenario, population, epsilon, DELTA, n, reps)
                    pieces[f"{scenario}.{size}.{name}"] = (measure_scenario, setting)
        pieces |= {f"chain.{name}": (chains, (populations[name][0], reps)) for name in THREE_TIERS}
        pieces |= {name: (halves, (population, epsilon, reps)) for name, (population, epsilon) in populations.items()}
    return pieces | {population.name: (hurting, (population, reps)) for population in synthetic(EPSILON)}


def _summary(figures: Flat, reps: int) -> Flat:
    def all_of(ending: str, *, among: Sequence[str] | None = None) -> list[float]:
        return [
            value
            for key, value in figures.items()
            if key.endswith(ending) and isinstance(value, float) and (among is None or key.split(".")[0] in among)
        ]

    error = float(np.sqrt(DELTA * (1 - DELTA) / reps))
    two, three = all_of(".ratio", among=TWO_TIERS), all_of(".ratio", among=THREE_TIERS)
    violations = all_of(".violations")
    bias = [abs(value) for value in all_of(".bias_in_errors") + all_of(".doubly_robust_bias_in_errors")]
    return {
        "share_ratio_mean": float(np.mean(two)) if two else None,
        "share_ratio_min": min(two) if two else None,
        "chain_savings_share": min(all_of(".chain_savings_share"), default=None),
        "one_path_chain_savings_share": min(all_of(".one_path_chain_savings_share"), default=None),
        "chain_share_ratio_mean": float(np.mean(three)) if three else None,
        "chain_share_ratio_min": min(three) if three else None,
        "violation_max": max(violations),
        "violation_limit": DELTA + 2 * error,
        "violation_max_errors": (max(violations) - DELTA) / error,
        "settings": len(violations),
        "settings_over_limit": sum(value > DELTA + 2 * error for value in violations),
        "naive_violation_max": max(all_of(".naive_violations"), default=None),
        "plug_in_violation_max": max(all_of(".plug_in_violations")),
        "bias_max_in_errors": max(bias, default=None),
        "coverage_of_95_min": min(all_of(".coverage_of_95"), default=None),
        "coverage_of_95_min_inverse_propensity": min(all_of(".coverage_of_95_inverse_propensity"), default=None),
    }


def halves(population: Population, epsilon: float, reps: int) -> Flat:
    """Every chooser on the same resamples of half the population's size."""
    chosen = choices(population, population.n // 2, epsilon, reps)
    figures: Flat = {"epsilon": epsilon}
    for name, made in chosen.items():
        figures |= outcome(name, population, made, epsilon)
    whole = Candidates(rival_path(population.p_t), partial(loss_under, p_t=population.p_t, correct=population.correct))
    optimum = whole.boldest(rivals(epsilon, DELTA)["plug_in"])
    figures["optimum"] = float(np.mean(_retained(population, optimum)))
    return figures | {"ratio": _number(figures["share"]) / _number(figures["reference_share"])}


def chains(population: Population, reps: int) -> Flat:
    """What a chain saves, on the first resamples of half the population's size."""
    rows = resamples(population, population.n // 2, min(reps, CHAIN_RESAMPLES))
    return chain_savings(population, THREE_TIER_EPSILON, DELTA, rows)


def hurting(population: Population, reps: int) -> Flat:
    """A synthetic population: a drop of exactly ε counts as a broken promise, so that the level is
    used up.
    """
    figures: Flat = {}
    for name, made in choices(population, SYNTHETIC_ROWS, EPSILON, reps).items():
        figures |= outcome(name, population, made, EPSILON, at_epsilon_breaks=True)
    return figures


def choices(population: Population, n: int, epsilon: float, reps: int) -> dict[str, list[Choice]]:
    """By chooser ("" = ours) its choice on each resample of n rows."""
    rows = resamples(population, n, reps)
    chosen: dict[str, list[Choice]] = {name: [] for name in ("", *rivals(epsilon, DELTA))}
    for at, drawn in enumerate(rows):
        p_t, correct = population.p_t[drawn], population.correct[drawn]
        sample = Sample(p_t=p_t, correct=correct)
        chosen[""].append(certified(sample, epsilon, DELTA, held_to_product=at < HELD_TO_PRODUCT))
        candidates = Candidates(rival_path(p_t), partial(loss_under, p_t=p_t, correct=correct))
        for name, passes in rivals(epsilon, DELTA).items():
            chosen[name].append(candidates.boldest(passes))
    if population.correct.shape[1] == 2:
        x = population.correct[:, 1] - population.correct[:, 0]
        mapie = by_mapie(np.array([population.p_t[i, 0] for i in rows]), np.array([x[i] for i in rows]), epsilon, DELTA)
        if mapie is not None:
            chosen["mapie"] = mapie
    return chosen


def outcome(
    name: str, population: Population, chosen: Sequence[Choice], epsilon: float, *, at_epsilon_breaks: bool = False
) -> Flat:
    """Mean share retained and rate of broken promises of policies chosen on resamples."""
    limit = epsilon + (-1e-9 if at_epsilon_breaks else 1e-9)
    shares, broken = [], 0
    for choice in chosen:
        retained = _retained(population, choice)
        shares.append(float(retained.mean()))
        broken += choice is not None and bool(retained.any()) and _drop(population, choice) > limit
    prefix = f"{name}_" if name else ""
    return {f"{prefix}share": float(np.mean(shares)), f"{prefix}violations": broken / len(shares)}


def _retained(population: Population, choice: Choice) -> npt.NDArray[np.bool_]:
    if choice is None:
        return np.zeros(population.n, dtype=np.bool_)
    return np.asarray(kept_under(choice, population.p_t) < population.correct.shape[1] - 1, dtype=np.bool_)


def _drop(population: Population, choice: Choice) -> float:
    return 0.0 if choice is None else population.drop_of(kept_under(choice, population.p_t))


def _number(value: float | int | str | None) -> float:
    assert isinstance(value, float)
    return value


def resamples(population: Population, n: int, reps: int) -> list[IntArray]:
    """The same rows for every chooser: drawn with replacement, by a seed that only the population's
    name sets.
    """
    rng = np.random.default_rng(zlib.crc32(population.name.encode()))
    return [rng.integers(0, population.n, n) for _ in range(reps)]
