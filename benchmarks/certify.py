"""Do certified thresholds keep their promise, and how much do they retain?

Calibration rows are drawn with replacement from recorded outcomes, so the true drop of a threshold is known. Beside the
product's certificate: the reference betting bound, the plug-in choice, a Hoeffding bound, MAPIE where it is at
hand, and the optimum. Then chains of three tiers, weighted labels, and synthetic populations that were built to
hurt. Seeds are fixed here; nothing was tuned on the files beyond mmlu_llama3, arc_gpt35 and hellaswag_llama3.
"""

import sys
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import numpy.typing as npt

from benchmarks.certify_populations import THREE_TIERS, TWO_TIERS, Population, recorded, synthetic
from benchmarks.certify_rivals import by_hoeffding, by_mapie, by_plug_in, by_reference
from benchmarks.certify_weighted import SCENARIOS, measure_scenario
from benchmarks.shape import Figures, recorded_data, run
from evidence import CertificationRows, Target, TargetKind, certify_policy
from knowgate.policy import Policy, PolicyKind, kept_tiers

EPSILON, DELTA = 0.02, 0.1
THREE_TIER_EPSILON = 0.05  # the recorded chain's small tiers are far behind its last one
WEIGHTED_ROWS = 10_000
WEIGHTED_ON = ("arc_llama3_8b_70b",)
SYNTHETIC_ROWS = 1500
Flat = dict[str, float | int | str | None]
IntArray = npt.NDArray[np.int64]


def measure(quick: bool) -> Figures:
    reps = 100 if quick else 1000
    folder = recorded_data()
    figures: Flat = {"epsilon": EPSILON, "delta": DELTA, "resamples": reps}
    pieces: dict[str, tuple[Callable[..., Mapping[str, float | int | str | None]], tuple[object, ...]]] = {}
    if folder is not None:
        held = {name: recorded(folder, name) for name in (*TWO_TIERS, *THREE_TIERS)}
        pieces |= {name: (two_tiers, (held[name], reps)) for name in TWO_TIERS}
        pieces |= {name: (three_tiers, (held[name], reps)) for name in THREE_TIERS}
        for scenario in SCENARIOS:
            for name in WEIGHTED_ON:
                setting = (scenario, held[name], EPSILON, DELTA, WEIGHTED_ROWS, reps)
                pieces[f"{scenario}.{name}"] = (measure_scenario, setting)
    pieces |= {population.name: (hurting, (population, reps)) for population in synthetic(EPSILON)}
    with ProcessPoolExecutor(max_workers=2) as pool:
        running = {name: pool.submit(function, *arguments) for name, (function, arguments) in pieces.items()}
        for name, piece in running.items():
            sys.stderr.write(f"{name} …\n")
            figures |= {f"{name}.{key}": value for key, value in piece.result().items()}
    ratios = [value for key, value in figures.items() if key.endswith(".ratio") and isinstance(value, float)]
    violations = [value for key, value in figures.items() if key.endswith(".violations") and isinstance(value, float)]
    return {
        "share_ratio_mean": float(np.mean(ratios)) if ratios else None,
        "share_ratio_min": min(ratios) if ratios else None,
        "violation_max": max(violations),
        "violation_limit": DELTA + 2 * float(np.sqrt(DELTA * (1 - DELTA) / reps)),
    } | figures


def hurting(population: Population, reps: int) -> dict[str, float]:
    """A synthetic population: a drop of exactly ε counts as a broken promise, so that the level is used up."""
    share, broken = ours(population, SYNTHETIC_ROWS, EPSILON, reps, at_epsilon_breaks=True)
    p_t, x = population.p_t[:, 0], population.correct[:, 1] - population.correct[:, 0]
    chosen = [by_plug_in(p_t[i], x[i], EPSILON) for i in resamples(population, SYNTHETIC_ROWS, reps)]
    return {"share": share, "violations": broken} | outcome("plug_in", population, chosen, at_epsilon_breaks=True)


def two_tiers(population: Population, reps: int) -> dict[str, float]:
    """Every chooser on the same resamples of half the population's size."""
    p_t, x = population.p_t[:, 0], population.correct[:, 1] - population.correct[:, 0]
    rows = list(resamples(population, population.n // 2, reps))
    told: dict[str, float] = {}
    told["share"], told["violations"] = ours(population, population.n // 2, EPSILON, reps)
    rivals: dict[str, Callable[[IntArray], float | None]] = {
        "reference": lambda i: by_reference(p_t[i], x[i], EPSILON, DELTA),
        "plug_in": lambda i: by_plug_in(p_t[i], x[i], EPSILON),
        "hoeffding": lambda i: by_hoeffding(p_t[i], x[i], EPSILON, DELTA),
    }
    for name, choose in rivals.items():
        told |= outcome(name, population, [choose(i) for i in rows])
    some = rows[: min(reps, 100)]  # the slowest of them
    mapie = by_mapie(np.array([p_t[i] for i in some]), np.array([x[i] for i in some]), EPSILON, DELTA)
    if mapie is not None:
        told |= outcome("mapie", population, mapie)
    told["optimum"] = outcome("optimum", population, [by_plug_in(p_t, x, EPSILON)])["optimum_share"]
    return told | {"ratio": told["share"] / told["reference_share"]}


def three_tiers(population: Population, reps: int) -> dict[str, float]:
    """The whole chain against its last tier, beside the boldest candidate whose observed drop is within ε."""
    told: dict[str, float] = {"epsilon": THREE_TIER_EPSILON}
    told["share"], told["violations"] = ours(population, population.n // 2, THREE_TIER_EPSILON, reps)
    shares, broken = [], 0
    for i in resamples(population, population.n // 2, min(reps, 200)):
        kept = np.full(population.n, 2, dtype=np.int64)
        for level in np.linspace(1 / 60, 1, 60):
            at = tuple({"p_t": float(np.quantile(population.p_t[i, tier], 1 - level))} for tier in range(2))
            policy = Policy.of(PolicyKind.P_T, at)
            here = kept_tiers(policy, [{"p_t": population.p_t[i, tier]} for tier in range(2)])
            if (population.correct[i, -1] - population.correct[i, here]).mean() > THREE_TIER_EPSILON:
                break
            kept = kept_tiers(policy, [{"p_t": population.p_t[:, tier]} for tier in range(2)])
        shares.append(float((kept < 2).mean()))
        broken += population.drop_of(kept) > THREE_TIER_EPSILON
    return told | {"plug_in_share": float(np.mean(shares)), "plug_in_violations": broken / min(reps, 200)}


def ours(
    population: Population, n: int, epsilon: float, reps: int, *, at_epsilon_breaks: bool = False
) -> tuple[float, float]:
    """The product's mean share retained and its rate of broken promises; a drop of exactly ε counts if asked to."""
    tiers = population.correct.shape[1]
    target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=epsilon)
    shares, broken = [], 0
    for i in resamples(population, n, reps):
        signals = [{"p_t": population.p_t[i, tier]} for tier in range(tiers - 1)]
        answer = certify_policy(
            PolicyKind.P_T, signals, CertificationRows(correct=population.correct[i]), target, DELTA
        )
        at = tuple(None if tier is None else {"p_t": tier[0].value} for tier in answer.thresholds)
        kept = kept_tiers(Policy.of(PolicyKind.P_T, at), [{"p_t": column} for column in population.p_t.T])
        drop, share = population.drop_of(kept), float((kept < tiers - 1).mean())
        shares.append(share)
        broken += drop > epsilon + 1e-9 or (at_epsilon_breaks and share > 0 and drop > epsilon - 1e-9)
    return float(np.mean(shares)), broken / reps


def outcome(
    name: str, population: Population, thresholds: list[float | None], *, at_epsilon_breaks: bool = False
) -> dict[str, float]:
    """Mean share retained and rate of broken promises of thresholds chosen on resamples."""
    p_t, x = population.p_t[:, 0], population.correct[:, 1] - population.correct[:, 0]
    masks = [np.zeros(population.n, dtype=bool) if at is None else p_t >= at for at in thresholds]
    limit = EPSILON + (-1e-9 if at_epsilon_breaks else 1e-9)
    return {
        f"{name}_share": float(np.mean([mask.mean() for mask in masks])),
        f"{name}_violations": float(np.mean([mask.any() and (mask * x).mean() > limit for mask in masks])),
    }


def resamples(population: Population, n: int, reps: int) -> list[IntArray]:
    """The same rows for every chooser: drawn with replacement, by a seed that only the population's name sets."""
    rng = np.random.default_rng(zlib.crc32(population.name.encode()))
    return [rng.integers(0, population.n, n) for _ in range(reps)]


if __name__ == "__main__":
    run("certify", measure)
