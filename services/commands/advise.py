"""`knowgate advise OUTCOMES`, `knowgate advise --cascade NAME`: is a cascade worth it here?"""

from pathlib import Path
from typing import Annotated

import typer

from evidence.certification.certificate import Target
from evidence.costs.savings import Savings
from knowgate._wire import codec
from knowgate.policy import PolicyKind
from knowgate.spec import TargetKind
from monitoring.names import Rule
from services.advice.advice import Advice
from services.advice.advice import advise as advice_of
from services.advice.hearing import Heard
from services.advice.label_plan import LabelPlan, LabelYield
from services.advice.observed import ObservedAdvice, advise_on
from services.advice.price_lists import read_latencies, read_rates
from services.advice.reasons import CostAdvice, Question, Recommendation
from services.clock import SystemClock
from services.commands.options import (
    AsJson,
    ColumnNames,
    MaxDrop,
    MinRetainedShare,
    RetainedAccuracy,
    Timezone,
    certified_kind,
    stated_target,
)
from services.commands.printing import print_json
from services.database import database
from services.errors import InputInvalid
from services.outcome_tables.certifiable import refuse_mixed_kinds
from services.outcome_tables.outcomes import column_mapping, read_outcomes
from services.settings import read_settings
from store.engine import reading

app = typer.Typer()


@app.command()
def advise(
    outcomes: Annotated[
        Path | None, typer.Argument(help="An outcome table: Parquet, CSV or JSONL; or give --cascade.")
    ] = None,
    cascade: Annotated[
        str | None, typer.Option(help="A deployed cascade, by what was observed of it, for what it declares.")
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(help="USD per million tokens in/out per tier, e.g. 0.1/0.4,2.5/10; or a cascade.toml."),
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(help="Each tier's parameters, e.g. 8e9,70e9: compute beside money, or instead.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="Each tier's milliseconds, e.g. 120,900; else the column latency_ms.")
    ] = None,
    max_latency: Annotated[float | None, typer.Option(help="The longest p95 that can be waited for, in ms.")] = None,
    max_accuracy_drop: MaxDrop = None,
    retained_accuracy: RetainedAccuracy = None,
    delta: Annotated[float, typer.Option(help="The chance that the promise is broken.")] = 0.1,
    kind: Annotated[
        PolicyKind,
        typer.Option("--rule", parser=certified_kind, metavar="RULE", help="p_t, p_ik or gates (p_ik and p_t)."),
    ] = PolicyKind.P_T,
    min_retained_share: MinRetainedShare = 0.05,
    decisions_per_day: Annotated[
        float | None, typer.Option(help="Also say how many rows that count a plan yields a week.")
    ] = None,
    exploration_rate: Annotated[float, typer.Option(help="Of that plan, as cascade.toml has it.")] = 0.05,
    label_rate: Annotated[
        float | None, typer.Option(help="Of that plan, as `labels queue` has it; the exploration rate if left out.")
    ] = None,
    label_budget: Annotated[float | None, typer.Option(help="Or: how many decisions are labelled a week.")] = None,
    mapping: ColumnNames = None,
    timezone: Timezone = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a cascade is worth it: break-even of prices, latency, the signal's worth, labels
    needed.

    Exits with 0 for a cascade or for labels to gather first, and with 3 for "do not".
    """
    if (outcomes is None) == (cascade is None):
        raise InputInvalid("give an outcome table or --cascade, and one of the two")
    if cascade is not None:
        _of_deployed(cascade, as_json=as_json)
        return
    assert outcomes is not None
    target = stated_target(max_accuracy_drop, retained_accuracy)
    table = read_outcomes(outcomes, timezone=timezone, now=SystemClock().now(), mapping=column_mapping(mapping))
    for tier in range(table.tiers - 1):
        refuse_mixed_kinds(tier, table)
    rates = read_rates(prices, parameters, tiers=table.tiers, now=SystemClock().now())
    question = Question(
        target=target,
        delta=delta,
        kind=kind,
        min_retained_share=min_retained_share,
        max_latency_ms=max_latency,
        latencies_ms=read_latencies(latency, tiers=table.tiers),
        plan=_plan(decisions_per_day, exploration_rate, label_rate, label_budget),
    )
    advice = advice_of(table, rates, question)
    if as_json:
        print_json(codec.encode(advice))
    else:
        for line in _lines(advice):
            typer.echo(line)
    if advice.recommendation is Recommendation.DO_NOT:
        raise typer.Exit(3)


def _of_deployed(cascade: str, *, as_json: bool) -> None:
    with database(read_settings()) as engine, reading(engine) as session:
        observed = advise_on(session, cascade, now=SystemClock().now())
    if as_json:
        print_json(codec.encode(observed))
    else:
        for line in _observed_lines(observed):
            typer.echo(line)
    if observed.advice is not None and observed.advice.recommendation is Recommendation.DO_NOT:
        raise typer.Exit(3)


def _observed_lines(observed: ObservedAdvice) -> list[str]:
    lines = [
        f"cascade       {observed.cascade}, mode {observed.mode or 'none: nothing is assigned'}",
        f"observed      {observed.observed} decisions from {observed.window.start:%Y-%m-%d %H:%M} to "
        f"{observed.window.end:%Y-%m-%d %H:%M} UTC",
        f"labelled      {observed.labels.sentence}",
    ]
    if observed.prospect is not None:
        lines.append(f"switched on   {observed.prospect.sentence}")
    if observed.advice is None:
        return [*lines, f"advice        none: {observed.why_no_advice}"]
    return [*lines, "", f"By rule {observed.rule} on these decisions:", *_lines(observed.advice)]


def _plan(
    decisions_per_day: float | None, exploration_rate: float, label_rate: float | None, label_budget: float | None
) -> LabelPlan | None:
    if decisions_per_day is None:
        if label_rate is not None or label_budget is not None:
            raise InputInvalid("--label-rate and --label-budget are of a plan: give --decisions-per-day too")
        return None
    return LabelPlan(
        decisions_per_day=decisions_per_day,
        exploration_rate=exploration_rate,
        label_rate=label_rate,
        label_budget=label_budget,
    )


_HEADS = {"cascade": "Use a cascade", "label_first": "Label first", "do_not": "Do not use a cascade here"}


def _lines(advice: Advice) -> list[str]:
    shares = advice.shares
    worth = "" if advice.worth is None else f" (worth {advice.worth:.2f} of 0 to 1)"
    if advice.worth is not None and advice.worth < 0:
        worth = " (here the thresholds do worse than a coin)"
    lines = [
        f"{_HEADS[advice.recommendation]}: {advice.reason}.",
        "",
        f"queries       {advice.queries}, {advice.graded} of them with every tier's outcome",
        f"certificate   {advice.certificate.status}, {_promise(advice)} with confidence "
        f"{1 - advice.certificate.delta:g}",
        f"thresholds    {advice.basis}",
        f"labels        {_labels(advice)}",
        *(() if advice.labels is None else (f"plan          {_yield(advice.labels)}",)),
        *(f"heard         {_heard(one, advice.target)}" for one in advice.heard),
        f"retained      {advice.retained_share:.1%}; a coin may retain {shares.random:.1%}, a perfect signal "
        f"{shares.perfect:.1%}{worth}",
    ]
    lines += [f"signal        tier {signal.tier}: {signal.sentence}" for signal in advice.signals]
    lines += [line for cost in advice.costs for line in _cost_lines(cost)]
    if advice.latency is not None:
        wait = advice.latency
        lines.append(
            f"latency       mean {wait.mean_ms:.0f} ms, p95 {wait.p95_ms:.0f} ms; last tier alone "
            f"{wait.last_mean_ms:.0f} and {wait.last_p95_ms:.0f} ms"
        )
    for chain in advice.shorter:
        names = " → ".join(advice.models[tier] for tier in chain.tiers)
        lines.append(f"shorter       {names}: {chain.status}, saves {chain.savings:.1%}")
    lines += ["", "When not to use a cascade:"]
    words = {True: "yes", False: "no", None: "unknown"}
    lines += [f"  {words[case.applies]:<8}{case.name}: {case.finding}" for case in advice.cases]
    lines += [f"warning: {warning}" for warning in advice.warnings]
    return lines + [f"assumed: {assumption}" for assumption in advice.assumed]


def _promise(advice: Advice) -> str:
    if advice.certificate.epsilon is None:
        return f"retained answers right at least {advice.target.value:g} of the time"
    return f"drop at most {advice.certificate.epsilon}"


def _cost_lines(cost: CostAdvice) -> list[str]:
    at, saved = cost.break_even, cost.savings
    factor = "" if at.price_factor is None else f", or if cheaper tiers cost {at.price_factor:.3g} times as much"
    limit = f"{at.largest_escalation_share:.1%}" if at.largest_escalation_share > 0 else "no share at all"
    early = () if cost.early is None else (_early(cost, cost.early),)
    return [
        f"savings       {saved.value:.1%} {cost.unit} ({saved.lower:.1%} to {saved.upper:.1%}): {cost.per_query:.4g} a "
        f"query for {cost.last_per_query:.4g}; a perfect signal {cost.perfect.savings:.1%}",
        *early,
        f"break-even    {at.escalation_share:.1%} escalate; nothing is saved above {limit}{factor}",
    ]


def _early(cost: CostAdvice, early: Savings) -> str:
    """What is saved where a gate ends a tier before it answers, at the same thresholds."""
    return (
        f"early         {early.value:.1%} {cost.unit} ({early.lower:.1%} to {early.upper:.1%}) with tiers.early: P(IK) "
        f"ends {cost.ended_share:.1%} of the queries before the tier answers"
    )


def _labels(advice: Advice) -> str:
    if advice.labels_needed is None:
        return "no number of further labels is known to help"
    return "enough" if advice.labels_needed == 0 else f"about {advice.labels_needed} further labelled queries"


def _yield(labels: LabelYield) -> str:
    plan = labels.plan
    weeks = "" if labels.weeks is None else f", as many as are needed in {labels.weeks:.1f} weeks"
    return (
        f"{plan.decisions_per_day:g} decisions a day, explored at {plan.exploration_rate:.3g}, labelled at "
        f"{labels.label_rate:.3g}: about {labels.counting:.0f} rows a week count, from {labels.labelled:.0f} labelled "
        f"decisions{weeks}"
    )


def _heard(one: Heard, target: Target) -> str:
    if one.alarm is Rule.SAVINGS:
        harm, after = f"savings {one.points} points lower", ""
    else:
        drop = target.kind is TargetKind.MAX_ACCURACY_DROP
        harm = f"{one.points} points more {'drop' if drop else 'wrong answers'}"
        after = ", after the label horizon"
    if one.hours.median is None:
        return f"{harm}: half of the time not within three weeks{after}"
    often = "" if one.hours.nine_in_ten is None else f", {_span(one.hours.nine_in_ten)} nine times in ten"
    return f"{harm}: within {_span(one.hours.median)} half of the time{often}{after}"


def _span(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.1f} days"
