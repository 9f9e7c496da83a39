"""What moved, in plain words: the sentence that an alert carries.

Savings are explained by the exact account of `evidence.costs.shift_share`; escalations by the slice
and gate whose share of all traffic grew most; a risk by the slice in which exploration finds most
harm, and by the bundles that decided it; drift by its columns. Every sentence names numbers of
before and after, so that a reader can check it against the figures.
"""

from collections import Counter

import numpy as np
import pandas as pd

from evidence.costs.cohort_costs import Cohort as CostCohort
from evidence.costs.cohort_costs import Escalation, SliceCohort, TokenCount, TokenPrice
from evidence.costs.shift_share import Cause, SavingsChange, explain_savings_change
from evidence.errors import EvidenceError
from knowgate._records.records import Reason, Role
from knowgate.spec import TargetKind
from monitoring.drift.drift import DriftRecord
from monitoring.rows.cohorts import Cohort

NO_SLICE = "(none)"
OTHERS = "(other slices)"
SLICES_NAMED = 20  # the slices with most traffic; the rest counts as one
_EXPLORED_PAIRS = 5  # fewer labelled pairs in a slice accuse it of nothing


def escalation_cause(before: Cohort | None, after: Cohort, *, only: Reason | None = None) -> str:
    """The slice and gate whose escalations grew most, as shares of all traffic; `only` looks at one
    gate.
    """
    now = _escalated_shares(after, only)
    if not now:
        return "nothing is escalated" if only is None else f"gate {only.value} escalates nothing"
    then = _escalated_shares(before, only) if before is not None and before.size else {}
    growth = {key: share - then.get(key, 0.0) for key, share in now.items()}
    name, gate = max(growth, key=lambda key: (growth[key], key))
    where = "escalations" if name == NO_SLICE else f"escalations in slice {name}"
    was, share = then.get((name, gate), 0.0), now[(name, gate)]
    if before is None or not before.size:
        return f"{where} are {_percent(share)} of traffic; gate {gate}"
    if share <= was:
        return f"no gate escalates more than before; {where} are {_percent(share)} of traffic, gate {gate}"
    sentence = f"{where} rose from {_percent(was)} to {_percent(share)} of traffic; gate {gate}"
    return sentence + _traffic_of(before, after, name)


def savings_cause(before: Cohort | None, after: Cohort, unit: str) -> str:
    """Why savings are lower than before; without a before, what is escalated now."""
    if before is None or not before.size or not after.size:
        return escalation_cause(before, after)
    try:
        change = explain_savings_change(cost_cohort(before, unit), cost_cohort(after, unit))
    except EvidenceError:
        return escalation_cause(before, after)
    account = ", ".join(f"{_loss_named(name)} {_points(part)}" for name, part in _largest_losses(change))
    movement = f"savings net of exploration went from {_percent(change.before)} to {_percent(change.after)} in {unit}"
    movement += f" ({account})" if account else ""
    return f"{_main_cause(change, before, after)}; {movement}"


def risk_cause(after: Cohort) -> str:
    """The slice in which the last tier, where it was run to explore, is right and the retained
    answer wrong.
    """
    rows = after.decisions
    pairs = rows[rows["explored"] & rows["x"].notna()].copy()
    if pairs.empty:
        return "retained answers are wrong more often than the target allows"
    weight = 1.0 / (pairs["run_propensity"] * pairs["label_propensity"].fillna(1.0)).to_numpy(dtype=np.float64)
    x, names = pairs["x"].to_numpy(dtype=np.float64), pairs["slice"].fillna(NO_SLICE).astype(str).to_numpy()
    inside = {name: names == name for name in sorted(set(names))}
    enough = [name for name, at in inside.items() if at.sum() >= _EXPLORED_PAIRS] or list(inside)
    worst = max(enough, key=lambda name: float((weight * x)[inside[name]].sum()))
    at = inside[worst]
    where = "" if worst == NO_SLICE else f" in slice {worst}"
    lost = float((weight * x)[at].sum() / weight[at].sum())
    return (
        f"retained answers{where} lose {_percent(lost)} of accuracy against the last tier,"
        f" seen on {int(at.sum())} explored queries"
    )


def accused_bundles(after: Cohort) -> tuple[str, ...]:
    """The bundles whose own decisions break the target: the estimate of each over what it decided,
    by its name.
    """
    return tuple(
        str(bundle)
        for bundle in sorted(after.decisions["bundle"].dropna().unique())
        if _breaks_target(after.of_bundle(str(bundle)))
    )


def _breaks_target(cohort: Cohort) -> bool:
    targets, rows = cohort.spec.targets, cohort.decisions
    drop = targets.kind is TargetKind.MAX_ACCURACY_DROP
    harm = rows["x"] if drop else 1.0 - rows["correct_kept"]
    seen = (rows["retained"] & harm.notna()).to_numpy(dtype=bool)
    if seen.sum() < _EXPLORED_PAIRS:
        return False
    label = rows["label_propensity" if drop else "kept_label_propensity"].fillna(1.0)
    chance = (rows["run_propensity"] * label if drop else label).to_numpy(dtype=np.float64)[seen]
    weight = 1.0 / np.where(np.isfinite(chance), chance, 1.0)
    mean = float((weight * harm.to_numpy(dtype=np.float64)[seen]).sum() / weight.sum())
    if drop:
        return mean * float(rows["retained"].mean()) > targets.value
    return mean > 1.0 - targets.value


def drift_cause(record: DriftRecord) -> str:
    """The columns that moved, furthest first."""
    parts = [
        f"{one.column} is missing in {one.current_share:.0%} of attempts, before in {one.reference_share:.0%}"
        for one in record.missing
        if one.drifted
    ]
    moved = [
        f"{c.column} moved by {c.score:.2f} reference standard deviations"
        f" (mean {c.reference_mean:.3g} → {c.current_mean:.3g})"
        for c in record.drifted[:3]
    ]
    more, parts = len(record.drifted) - len(moved), parts + moved
    return "; ".join(parts) + (f"; and {more} more columns" if more > 0 else "")


def cost_cohort(cohort: Cohort, unit: str) -> CostCohort:
    """The cohort as `evidence.costs.shift_share` reads it; `unit` is usd, gflops or tokens."""
    names = _largest_slices(cohort.decisions, cohort)
    by_decision = pd.Series(names.to_numpy(), index=cohort.decisions["id"])
    attempts = cohort.attempts.assign(group=by_decision.reindex(cohort.attempts["id"]).to_numpy())
    slices = tuple(
        _slice_cohort(str(name), int(count), attempts[attempts["group"] == name], cohort.spec.last)
        for name, count in names.value_counts().items()
    )
    return CostCohort(slices=slices, prices=_prices(cohort, unit))


def _slice_cohort(name: str, decisions: int, attempts: pd.DataFrame, last: int) -> SliceCohort:
    exploring = (attempts["role"] == Role.EXPLORATION) & (attempts["tier"] == last)
    answering = attempts[attempts["role"] != Role.EXPLORATION]
    sent = attempts[attempts["reason"].notna()]
    gone = Counter(zip(sent["tier"].tolist(), sent["reason"].tolist(), strict=True))
    return SliceCohort(
        slice=name,
        decisions=decisions,
        escalations=tuple(
            Escalation(tier=int(tier), gate=str(gate), decisions=count) for (tier, gate), count in sorted(gone.items())
        ),
        tokens_per_run=tuple(_tokens(answering[answering["tier"] == tier]) for tier in range(last + 1)),
        last_tokens=_last_tokens(attempts, last),
        exploration_runs=int(exploring.sum()),
        exploration_tokens=_tokens(attempts[exploring]),
    )


def _tokens(runs: pd.DataFrame) -> TokenCount:
    means = runs[["tokens_in", "tokens_out"]].mean().fillna(0.0)
    return TokenCount(tokens_in=float(means["tokens_in"]), tokens_out=float(means["tokens_out"]))


def _last_tokens(attempts: pd.DataFrame, last: int) -> TokenCount:
    """Mean tokens had the last tier answered every decision: its own where it ran, elsewhere those
    of the first attempt times the ratio seen where both ran. Escalated queries alone would speak
    for all, and they are the longer ones.
    """
    first = attempts.drop_duplicates("decision").set_index("decision")
    ran = attempts[attempts["tier"] == last].set_index("decision").reindex(first.index)
    means = []
    for name in ("tokens_in", "tokens_out"):
        own, begun = ran[name].astype(np.float64), first[name].mask(first["role"] == Role.SKIPPED)
        both = own.notna() & begun.notna()
        spent, beside = float(own[both].sum()), float(begun[both].sum())
        ratio = spent / beside if beside > 0.0 else 1.0
        means.append(float(own.fillna(begun.fillna(0.0) * ratio).mean()))
    return TokenCount(tokens_in=means[0], tokens_out=means[1])


def _prices(cohort: Cohort, unit: str) -> tuple[TokenPrice, ...]:
    """Per tier, at the end of the window."""
    prices = []
    for tier in cohort.spec.tiers:
        price = tier.price_at(cohort.window.end)
        if unit == "gflops":
            per_in = per_out = tier.gflops(1)
        elif unit == "tokens":
            per_in = per_out = 1.0
        elif price is None:
            per_in = per_out = 0.0
        else:
            per_in, per_out = price.cost_usd(1, 0), price.cost_usd(0, 1)
        prices.append(TokenPrice(per_token_in=per_in, per_token_out=per_out))
    return tuple(prices)


def _largest_slices(rows: pd.DataFrame, cohort: Cohort) -> "pd.Series[str]":
    largest = cohort.slices[:SLICES_NAMED]
    names = rows["slice"].astype(object)
    kept = names.where(names.isin(largest) | names.isna(), OTHERS)
    return kept.where(kept.notna(), NO_SLICE)


def _escalated_shares(cohort: Cohort, only: Reason | None) -> dict[tuple[str, str], float]:
    """(slice, gate) → its escalations as a share of all decisions."""
    rows = cohort.decisions
    gone = rows[rows["reason"].notna()] if only is None else rows[rows["reason"] == only.value]
    counts = Counter(zip(gone["slice"].fillna(NO_SLICE).astype(str), gone["reason"].astype(str), strict=True))
    return {key: count / len(rows) for key, count in counts.items()}


def _traffic_of(before: Cohort | None, after: Cohort, name: str) -> str:
    """Where the slice itself grew, that is said too: the gate may be innocent."""
    if before is None or name == NO_SLICE:
        return ""
    was, now = (float((c.decisions["slice"] == name).mean()) for c in (before, after))
    return f" (the slice grew from {_percent(was)} to {_percent(now)})" if now - was >= 0.05 else ""


def _largest_losses(change: SavingsChange) -> list[tuple[str, float]]:
    parts = sorted(change.by_cause().items(), key=lambda item: item[1])
    return [(name, part) for name, part in parts if part <= -0.005][:3]


def _main_cause(change: SavingsChange, before: Cohort, after: Cohort) -> str:
    losses = _largest_losses(change)
    largest = losses[0][0].split(":")[0] if losses else Cause.ESCALATION.value
    if largest in (Cause.PRICES.value, Cause.TOKENS.value, Cause.EXPLORATION.value):
        return {
            Cause.PRICES.value: "the tiers' prices moved towards each other",
            Cause.TOKENS.value: _token_change(before, after),
            Cause.EXPLORATION.value: "exploration costs more than before",
        }[largest]
    return escalation_cause(before, after)


def _token_change(before: Cohort, after: Cohort) -> str:
    grown: dict[int, tuple[float, float]] = {}
    for tier in range(after.spec.last + 1):
        was, now = (float(c.attempts.loc[c.attempts["tier"] == tier, "tokens"].mean()) for c in (before, after))
        if was > 0.0 and now > 0.0:
            grown[tier] = (was, now)
    if not grown:
        return "tokens per run moved"
    tier = max(grown, key=lambda t: abs(np.log(grown[t][1] / grown[t][0])))
    was, now = grown[tier]
    return f"tokens per run of tier {after.spec.tiers[tier].name} went from {was:.0f} to {now:.0f}"


def _loss_named(name: str) -> str:
    cause, _, gate = name.partition(":")
    return cause.replace("_", " ") + (f" by gate {gate}" if gate else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def _points(change: float) -> str:
    return f"{'−' if change < 0 else '+'}{abs(100 * change):.1f} points"
