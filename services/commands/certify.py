"""`knowgate certify OUTCOMES`: thresholds with a guarantee, from an outcome table."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

from evidence.certification.certificate import Target
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import FloatArray
from knowgate._records.records import LabelSource
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, PromiseKind
from services.advice.price_lists import TierRates, read_rates
from services.advice.query_costs import cost_tables
from services.clock import SystemClock
from services.commands.options import (
    AsJson,
    ColumnNames,
    MaxDrop,
    MinRetainedShare,
    Outcomes,
    RetainedAccuracy,
    Timezone,
    certified_kind,
    stated_target,
)
from services.commands.printing import print_record
from services.commands.user_tables import read_table
from services.database import database, require_database
from services.errors import InputInvalid
from services.outcome_tables.certifiable import refuse_uncertifiable
from services.outcome_tables.certification import TRUSTED, CertifiedThresholds, certify_table
from services.outcome_tables.delta_account import Level, at_level, cascade_level, record_attempt, stated_level
from services.outcome_tables.of_cascade import of_cascade
from services.outcome_tables.outcomes import OutcomeTable
from services.settings import read_settings
from store.engine import reading, transaction
from store.releases import cascades

app = typer.Typer()


@app.command()
def certify(
    outcomes: Outcomes,
    max_accuracy_drop: MaxDrop = None,
    retained_accuracy: RetainedAccuracy = None,
    delta: Annotated[
        float | None, typer.Option(help="The chance that the promise is broken; 0.1 unless given.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(help="Which attempt of a season it is, from 1: it may use 6δ/(π²k²).")
    ] = None,
    cascade: Annotated[
        str | None,
        typer.Option(help="Take δ and promise from this cascade, and write the attempt into the ledger."),
    ] = None,
    kind: Annotated[
        PolicyKind,
        typer.Option(
            "--rule",
            parser=certified_kind,
            metavar="RULE",
            help="p_t, p_ik, gates (p_ik and p_t), or score (learned on a hashed half of the queries).",
        ),
    ] = PolicyKind.P_T,
    min_retained_share: MinRetainedShare = 0.05,
    slice_name: Annotated[
        str | None, typer.Option("--slice", help="Certify the queries of this slice alone, and for it alone.")
    ] = None,
    trust: Annotated[
        list[LabelSource] | None,
        typer.Option(
            help="Also take this source's labels for the truth. Of a grader: the promise is agreement with it."
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(help="Each tier's parameters, e.g. 7e9,13e9,70e9: what a chain is chosen by; else cost_usd."),
    ] = None,
    mapping: ColumnNames = None,
    timezone: Timezone = None,
    as_json: AsJson = False,
) -> None:
    """Choose the boldest thresholds that keep the promise with confidence 1 − delta; of a chain of
    three tiers and more those that save most.

    Exits with 0 when certified and with 3 when not: infeasible, insufficient evidence, or nothing
    saved.
    """
    target = stated_target(max_accuracy_drop, retained_accuracy)
    if cascade is not None:
        _refuse_a_second_account(delta, attempt)
    trusted = tuple(source for source in LabelSource if source in TRUSTED or source in (trust or ()))
    table = _chosen_rows(read_table(outcomes, timezone, mapping), slice_name, trusted)
    account = _account(table, cascade, delta, attempt)
    refuse_uncertifiable(account.table, kind, SystemClock().now())
    certified = certify_table(
        account.table,
        kind=kind,
        target=target,
        delta=account.level.delta,
        min_retained_share=min_retained_share,
        trusted=trusted,
        costs=_costs(account.table, parameters, account.declared),
    )
    answer = at_level(certified, account.level)
    if cascade is not None:
        _record(cascade, account.table, target, answer)
    _tell(answer, as_json=as_json)
    if answer.status is not CertificateStatus.CERTIFIED:
        raise typer.Exit(3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Account:
    """What an attempt may use, the rows that it is about, and what is declared of their tiers."""

    table: OutcomeTable
    level: Level
    declared: tuple[TierRates, ...] = ()


def _chosen_rows(table: OutcomeTable, slice_name: str | None, trusted: tuple[LabelSource, ...]) -> OutcomeTable:
    return (table if slice_name is None else table.of_slice(slice_name)).trusting(trusted)


def _account(table: OutcomeTable, cascade: str | None, delta: float | None, attempt: int | None) -> _Account:
    """By the cascade's promise where one is named, else by what was stated."""
    if cascade is None:
        return _Account(table=table, level=stated_level(0.1 if delta is None else delta, attempt))
    spec, level = _declared(cascade)
    rates = tuple(TierRates(parameters=tier.parameters) for tier in spec.tiers)
    return _Account(table=of_cascade(table, spec), level=level, declared=rates)


def _costs(table: OutcomeTable, parameters: str | None, declared: tuple[TierRates, ...]) -> FloatArray | None:
    """[queries, tiers] what each run costs, by the option or else as declared; None where neither
    says.
    """
    rates = declared
    if parameters is not None:
        rates = read_rates(None, parameters, tiers=table.tiers, now=SystemClock().now())
    return cost_tables(table, rates, np.ones(table.queries, dtype=np.bool_))[0][0].per_tier if rates else None


def _tell(answer: CertifiedThresholds, *, as_json: bool) -> None:
    """The answer on stdout, what it is not about beside it."""
    print_record(answer, as_json=as_json)
    if not as_json:
        typer.echo(f"δ = {answer.delta:.4g} {_meaning(answer)}", err=True)
    if answer.promise.startswith("agreement"):
        typer.echo(f"this is about {answer.promise}", err=True)
    if answer.label_basis.forecasts_left_out is not None:
        typer.echo(answer.label_basis.forecasts_left_out, err=True)


def _meaning(answer: CertifiedThresholds) -> str:
    """What δ is the chance against, in words that follow its value."""
    if answer.promise_kind is None:
        return "is the chance that this attempt, taken for the only one, breaks the promise"
    if answer.promise_kind is PromiseKind.SEASON:
        return f"is this attempt's share of {answer.delta_family:g}: {answer.promise_kind.sentence}"
    return f"is this attempt's: {answer.promise_kind.sentence}"


def _refuse_a_second_account(delta: float | None, attempt: int | None) -> None:
    given = [(name, value) for name, value in (("--delta", delta), ("--attempt", attempt)) if value is not None]
    if given:
        values = " and ".join(f"{name} is {value:g}" for name, value in given)
        raise InputInvalid(
            f"{values}, and --cascade counts the attempts and has the delta of its targets:"
            f" leave out {' and '.join(name for name, _ in given)}"
        )


def _declared(cascade: str) -> tuple[CascadeSpec, Level]:
    """The cascade, and what its next attempt may use."""
    settings = read_settings()
    require_database(settings)
    with database(settings) as engine, reading(engine) as session:
        return cascades.cascade(session, cascade), cascade_level(session, cascade)


def _record(cascade: str, table: OutcomeTable, target: Target, answer: CertifiedThresholds) -> None:
    """The attempt is written before its answer is shown: what was seen has been paid for."""
    with database(read_settings()) as engine, transaction(engine) as session:
        record_attempt(session, cascade, table, target, answer, now=SystemClock().now())
