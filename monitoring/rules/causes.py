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
from monitoring.drift.drift import ColumnDrift, DriftRecord, MissingShift
from monitoring.figures.accuracy_figures import accuracy_retained, drop
from monitoring.rows.cohorts import Cohort
from monitoring.words import amount, gate_named, percent, points, signal_named, unit_named

NO_SLICE = "(none)"
OTHERS = "(other slices)"
SLICES_NAMED = 20  # the slices with most traffic; the rest counts as one
COLUMNS_NAMED = 3  # of those that drift; the rest is counted
_LOSSES = {
    Cause.TRAFFIC_MIX: "another mix of queries",
    Cause.ESCALATION: "escalation",
    Cause.PRICES: "prices",
    Cause.TOKENS: "lengths",
    Cause.EXPLORATION: "exploration",
}
_EXPLORED_PAIRS = 5  # fewer labelled pairs in a slice accuse it of nothing


def escalation_cause(before: Cohort | None, after: Cohort, *, only: Reason | None = None) -> str:
    """The kind of query and the gate whose escalations grew most, as shares of all traffic; `only`
    looks at one gate.
    """
    now = _escalated_shares(after, only)
    if not now:
        return "nothing is escalated" if only is None else f"no query escalates because {gate_named(only.value)}"
    then = _escalated_shares(before, only) if before is not None and before.size else {}
    growth = {key: share - then.get(key, 0.0) for key, share in now.items()}
    name, gate = max(growth, key=lambda key: (growth[key], key))
    who = "queries" if name == NO_SLICE else f"queries of kind `{name}`"
    was, share = then.get((name, gate), 0.0), now[(name, gate)]
    if before is None or not before.size:
        return f"{percent(share)} of traffic are {who} that escalate because {gate_named(gate)}"
    if share <= was:
        most = f"{percent(share)} of traffic are {who} that do because {gate_named(gate)}"
        return f"no gate escalates more than before; {most}"
    grown = _growth_of(before, after, name)
    if grown is None:
        return f"{who} that escalate rose from {percent(was)} to {percent(share)} of traffic: {gate_named(gate)}"
    sent = share / grown[1]
    return (
        f"{who} grew from {percent(grown[0])} to {percent(grown[1])} of traffic, and {percent(sent)} of them escalate:"
        f" {gate_named(gate)}"
    )


def savings_cause(before: Cohort | None, after: Cohort, unit: str) -> str:
    """Why savings are lower than before; without a before, what is escalated now."""
    if before is None or not before.size or not after.size:
        return escalation_cause(before, after)
    try:
        change = explain_savings_change(cost_cohort(before, unit), cost_cohort(after, unit))
    except EvidenceError:
        return escalation_cause(before, after)
    account = ", ".join(f"{_loss_named(name)} {points(part, signed=True)}" for name, part in _largest_losses(change))
    moved = "fell" if change.after < change.before else "went"
    movement = f"savings {moved} from {percent(change.before)} to {percent(change.after)} in {unit_named(unit)},"
    movement += " exploration paid" + (f" ({account})" if account else "")
    return f"{_main_cause(change, before, after)}; {movement}"


def risk_cause(after: Cohort) -> str:
    """The kind of query in which the last tier, where it was run to explore, is right and the kept
    answer wrong; and what all of it makes, beside what is allowed.
    """
    rows = after.decisions
    pairs = rows[rows["explored"] & rows["x"].notna()].copy()
    if pairs.empty:
        return "; ".join(filter(None, ("kept answers are wrong more often than the target allows", _lost(after))))
    weight = 1.0 / (pairs["run_propensity"] * pairs["label_propensity"].fillna(1.0)).to_numpy(dtype=np.float64)
    x, names = pairs["x"].to_numpy(dtype=np.float64), pairs["slice"].fillna(NO_SLICE).astype(str).to_numpy()
    inside = {name: names == name for name in sorted(set(names))}
    enough = [name for name, at in inside.items() if at.sum() >= _EXPLORED_PAIRS] or list(inside)
    worst = max(enough, key=lambda name: float((weight * x)[inside[name]].sum()))
    at = inside[worst]
    where = "kept answers" if worst == NO_SLICE else f"kept answers to queries of kind `{worst}`"
    harm = float((weight * x)[at].sum() / weight[at].sum())
    seen = f"{where} are right {points(harm)} points less often than the last tier's, on {int(at.sum())} explored ones"
    return "; ".join(filter(None, (seen, _lost(after))))


def _lost(after: Cohort) -> str:
    """What the promise is about, over all of the rows, beside what it allows."""
    targets = after.spec.targets
    dropped = targets.kind is TargetKind.MAX_ACCURACY_DROP
    figure = drop(after) if dropped else accuracy_retained(after)
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    if dropped:
        between = f"{points(figure.low)} to {points(figure.high)}"
        return f"over all traffic {points(figure.value)} points are lost ({between}), {points(targets.value)} allowed"
    between = f"{percent(figure.low)} to {percent(figure.high)}"
    return f"of all kept answers {percent(figure.value)} are right ({between}), {percent(targets.value)} promised"


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
    parts = [missing_cause(one) for one in record.missing if one.drifted]
    moved = [_moved(column) for column in record.drifted[:COLUMNS_NAMED]]
    more, parts = len(record.drifted) - len(moved), parts + moved
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def missing_cause(shift: MissingShift) -> str:
    """How often a column is missing, beside before."""
    now, then = percent(shift.current_share), percent(shift.reference_share)
    return f"{signal_named(shift.column)} is missing in {now} of answers, before in {then}"


def _moved(column: ColumnDrift) -> str:
    """Where a column's mean went, and how far in units of what it varied by before."""
    name = signal_named(column.column)
    then, now = (amount(column.column, mean) for mean in (column.reference_mean, column.current_mean))
    if then == now:
        return f"{name} spreads otherwise around {now} than before ({column.score:.1f} of its usual spread)"
    went = "rose" if column.current_mean > column.reference_mean else "fell"
    return f"{name} {went} from {then} to {now} on average ({column.score:.1f} of its usual spread)"


def cost_cohort(cohort: Cohort, unit: str) -> CostCohort:
    """The cohort as `evidence.costs.shift_share` reads it; `unit` is usd, gflops or tokens."""
    names = _largest_slices(cohort.decisions, cohort)
    by_decision = pd.Series(names.to_numpy(), index=cohort.decisions["decision"])
    attempts = cohort.attempts.assign(group=by_decision.reindex(cohort.attempts["decision"]).to_numpy())
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


def _growth_of(before: Cohort, after: Cohort, name: str) -> tuple[float, float] | None:
    """The slice's share of traffic before and now, where it grew: the gate may be innocent."""
    if name == NO_SLICE:
        return None
    was, now = (float((c.decisions["slice"] == name).mean()) for c in (before, after))
    return (was, now) if now - was >= 0.05 else None


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
        return "runs take other numbers of tokens than before"
    tier = max(grown, key=lambda t: abs(np.log(grown[t][1] / grown[t][0])))
    was, now = grown[tier]
    return f"a run of tier {after.spec.tiers[tier].name} takes {now:.0f} tokens, before {was:.0f}"


def _loss_named(name: str) -> str:
    cause, _, gate = name.partition(":")
    return _LOSSES[Cause(cause)] if not gate else f"more escalate since {gate_named(gate)}"
