"""Rules on what a tier shows beside its answers: the ood gate, drift, a signal that is one value, a
signal that went missing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from monitoring.drift.drift import DriftRecord, MissingShift
from monitoring.drift.signal_tables import SignalSpread
from monitoring.figures.estimates import Estimated
from monitoring.names import Rule
from monitoring.rules.causes import drift_cause, missing_cause
from monitoring.rules.rules import Assessment, Standing
from monitoring.words import percent, signal_named

OOD_ROWS = 100  # decisions at the tier; with fewer the rule is silent
OOD_MARGIN = 0.05  # beyond what reference traffic escalates by its own percentile
FAR_DRIFT = 2.0  # thresholds; one column that far, or two columns at all
# What makes a signal one value, and what to do about it.
_CONSTANT_TOKENS = (
    "the engine reports its sampler's log-probabilities, which are certain of what was chosen, not the model's own; set"
    " them (vLLM: --logprobs-mode raw_logprobs) and escalate all until they vary"
)
_CONSTANT_STATE = (
    "it is made of hidden states that are all alike, or scored by a damaged bundle; check the layer and position that"
    " the engine returns"
)
_CONSTANT_CURE = {"p_t": _CONSTANT_TOKENS, "entropy": _CONSTANT_TOKENS}


def assess_ood(
    share: Estimated, as_good: Estimated, *, threshold: float | None, tier: str, cause: Callable[[], str]
) -> Assessment:
    """Whether the ood gate alone escalates more than the reference traffic would by chance, 1 −
    τ_ood, and a margin.

    Raised only where the share's exact interval lies above that; clear where the share itself does
    not.
    """
    rule = Rule.OOD_CONSERVATIVENESS
    if threshold is None or share.value is None or share.low is None or share.n < OOD_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    expected = 1.0 - threshold
    if share.low <= expected + OOD_MARGIN:
        clear = Standing.CLEAR if share.value <= expected + OOD_MARGIN else Standing.UNKNOWN
        return Assessment(rule=rule, standing=clear, cause=f"{_ood_only(share.value, tier)}")
    why = f"{cause()}; {_ood_only(share.value, tier)}, {percent(expected)} would by chance"
    if as_good.value is not None:
        why += f"; in {percent(as_good.value)} of them the tier was as good as the last ({as_good.n} labelled)"
    details: dict[str, str | float] = {"tier": tier, "share": share.value, "low": share.low, "expected": expected}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=why, details=details)


def _ood_only(share: float, tier: str) -> str:
    return f"at tier {tier} {percent(share)} escalate only because they are unlike what the probe has seen (ood)"


def assess_drift(record: DriftRecord | None, *, tier: str, champion: str | None = None) -> Assessment:
    """Raised where a column went missing, two columns drifted, or one by twice its threshold; clear
    where none did.
    """
    if record is None:
        return Assessment(rule=Rule.DRIFT, standing=Standing.UNKNOWN)
    drifted, gone = record.drifted, [shift for shift in record.missing if shift.drifted]
    compared = [column.column for column in record.columns] + [f"missing.{one.column}" for one in record.missing]
    covers = frozenset(f"{tier}.{name}" for name in compared)
    details: dict[str, str | float] = {} if champion is None else {"champion": champion}
    if not drifted and not gone:
        clear = "signals are as they were when the champion was made"
        return Assessment(rule=Rule.DRIFT, standing=Standing.CLEAR, cause=clear, details=details, covers=covers)
    far = bool(drifted) and drifted[0].score >= FAR_DRIFT * drifted[0].threshold
    if len(drifted) < 2 and not far and not gone:
        return Assessment(rule=Rule.DRIFT, standing=Standing.UNKNOWN)
    about = [f"{tier}.missing.{one.column}" for one in gone] + [f"{tier}.{column.column}" for column in drifted]
    details |= {"tier": tier, "reference_rows": record.reference_rows, "columns": ", ".join(about)}
    details |= {column.column: column.score for column in drifted}
    details |= {f"missing.{one.column}": one.current_share for one in gone}
    cause = f"at tier {tier} {drift_cause(record)}"
    return Assessment(rule=Rule.DRIFT, standing=Standing.RAISED, cause=cause, details=details, covers=covers)


def assess_constant(spreads: Sequence[SignalSpread]) -> Assessment:
    """Raised where a signal that at least 20 attempts have is one value in all of them: it then
    tells nothing.

    Nothing retained by such a signal is retained for a reason, so one window is enough.
    """
    rule, covers = Rule.CONSTANT_SIGNAL, frozenset(f"{one.tier}.{one.signal}" for one in spreads)
    constant = [one for one in spreads if one.constant]
    if not spreads:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if not constant:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every signal varies", covers=covers)
    seen = [
        f"{signal_named(one.signal)} is {one.low:.6g} in all {one.attempts} answers of tier {one.tier}"
        for one in constant
    ]
    cures = [_CONSTANT_CURE.get(signal, _CONSTANT_STATE) for signal in dict.fromkeys(one.signal for one in constant)]
    details: dict[str, str | float] = {"columns": ", ".join(f"{one.tier}.{one.signal}" for one in constant)}
    details |= {f"{one.tier}.{one.signal}": one.low for one in constant}
    cause = f"{'; '.join(seen)}: {'; '.join(dict.fromkeys(cures))}"
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details, covers=covers)


def assess_missing(
    tiers: Sequence[tuple[str, Sequence[MissingShift]]], *, since: datetime, escalated: float | None
) -> Assessment:
    """Raised where a signal that decides is missing in clearly more of a window's attempts than in
    the week before; a tier's name with its signals that could be compared.

    `since` is the start of the first such window, `escalated` the share of the window's decisions
    that escalate for want of a signal.
    """
    rule, compared = Rule.MISSING_SIGNAL, [(tier, one) for tier, shifts in tiers for one in shifts]
    covers = frozenset(f"{tier}.{one.column}" for tier, one in compared)
    gone = [(tier, one) for tier, one in compared if one.drifted]
    if not compared:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if not gone:
        clear = "every signal that decides is there as often as before"
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=clear, covers=covers)
    seen = "; ".join(f"at tier {tier} {missing_cause(one)}" for tier, one in gone)
    cause = f"{seen}, since {since:%Y-%m-%d %H:%M} UTC"
    if escalated is not None:
        cause += f"; {percent(escalated)} of queries escalate because a signal is missing"
    details: dict[str, str | float] = {"since": since.isoformat()}
    details |= {"columns": ", ".join(f"{tier}.{one.column}" for tier, one in gone)}
    details |= {f"{tier}.{one.column}": one.current_share for tier, one in gone}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details, covers=covers)
