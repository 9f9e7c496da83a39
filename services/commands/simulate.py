"""`knowgate simulate OUTCOMES`: recorded outcomes played as production traffic."""

from pathlib import Path
from typing import Annotated

import typer

from knowgate.policy import PolicyKind
from services.clock import SystemClock
from services.commands.options import AsJson, ColumnNames, Outcomes, Timezone, certified_kind
from services.commands.printing import print_record
from services.commands.progress import playing, print_lines
from services.errors import Refused
from services.outcome_tables.outcomes import column_mapping, read_outcomes
from services.settings import read_settings
from services.simulation.of_table import Wanted, play_table, prepared
from services.simulation.summary_lines import summary_lines

app = typer.Typer()


@app.command()
def simulate(
    outcomes: Outcomes,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the deployment lies; a fresh folder under KNOWGATE_DATA_DIR/simulate by default."),
    ] = None,
    max_accuracy_drop: Annotated[float, typer.Option(help="The drop allowed against the last tier.")] = 0.02,
    delta: Annotated[float, typer.Option(help="The chance that the promise is broken.")] = 0.1,
    kind: Annotated[
        PolicyKind,
        typer.Option(
            "--rule", parser=certified_kind, metavar="RULE", help="p_t: recorded outcomes carry no hidden states."
        ),
    ] = PolicyKind.P_T,
    days: Annotated[float, typer.Option(help="How long the traffic takes.")] = 28,
    exploration: Annotated[float, typer.Option(help="Share of retained queries that the last tier runs on too.")] = 0.1,
    label_share: Annotated[float, typer.Option(help="Share of the decisions that are labelled, by coin.")] = 1.0,
    label_delay_hours: Annotated[float, typer.Option(help="Median delay of a label.")] = 24,
    parameters: Annotated[
        str | None, typer.Option(help="Each tier's parameters, e.g. 8e9,70e9; else read off the models' names.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of exploration, label coins and delays.")] = 0,
    mapping: ColumnNames = None,
    timezone: Timezone = None,
    as_json: AsJson = False,
) -> None:
    """Play an outcome table through the real service: API, database, jobs, runtime, late labels.

    Ends with 0 when the ledger verifies and every decision replays, whatever was certified.
    """
    wanted = Wanted(
        directory=directory,
        max_accuracy_drop=max_accuracy_drop,
        delta=delta,
        kind=kind,
        days=days,
        exploration_rate=exploration,
        label_share=label_share,
        label_delay_hours=label_delay_hours,
        parameters=parameters,
        seed=seed,
    )
    table = read_outcomes(outcomes, timezone=timezone, now=SystemClock().now(), mapping=column_mapping(mapping))
    setting = prepared(table, wanted, read_settings())
    with playing(len(setting.queries)) as report:
        summary = play_table(setting, report)
    if as_json:
        print_record(summary, as_json=True)
    else:
        print_lines(summary_lines(summary))
    place = setting.directory
    typer.echo(f"the deployment lies in {place}; to look at it: KNOWGATE_DATA_DIR={place} knowgate serve", err=True)
    if summary.audit.mismatches or not summary.audit.verified:
        raise Refused("the audit failed: some decision did not replay, or the ledger does not verify")
