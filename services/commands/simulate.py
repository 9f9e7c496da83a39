"""`knowgate simulate OUTCOMES`: recorded outcomes played as production traffic."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

START = datetime(2026, 1, 1, tzinfo=UTC)  # windows are aligned to the epoch, a Thursday


def simulate(
    outcomes: Annotated[Path, typer.Argument(help="An outcome table: Parquet, CSV or JSONL.")],
    directory: Annotated[
        Path | None, typer.Option(help="Where the deployment lies; a fresh folder under var/simulate by default.")
    ] = None,
    max_accuracy_drop: Annotated[float, typer.Option(help="The drop allowed against the last tier.")] = 0.02,
    delta: Annotated[float, typer.Option(help="The chance that a promise is broken, over all attempts.")] = 0.1,
    rule: Annotated[str, typer.Option(help="p_t: recorded outcomes carry no hidden states.")] = "p_t",
    days: Annotated[float, typer.Option(help="How long the traffic takes.")] = 28,
    exploration: Annotated[float, typer.Option(help="Share of retained queries that the last tier runs on too.")] = 0.1,
    label_share: Annotated[float, typer.Option(help="Share of the decisions that are labelled, by coin.")] = 1.0,
    label_delay_hours: Annotated[float, typer.Option(help="Median delay of a label.")] = 24,
    parameters: Annotated[
        str | None, typer.Option(help="Each tier's parameters, e.g. 8e9,70e9; else read off the models' names.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of exploration, label coins and delays.")] = 0,
    timezone: Annotated[str | None, typer.Option(help="Where times without an offset were written.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Play an outcome table through the real service: API, database, jobs, runtime, late labels.

    Ends with 0 when the ledger verifies and every decision replays, whatever was certified.
    """
    import tempfile

    from knowgate.policy import PolicyKind
    from knowgate.spec import Targets
    from services.commands.printing import print_record
    from services.commands.progress import playing
    from services.errors import InputInvalid, Refused
    from services.history.outcomes import read_outcomes
    from services.simulation.play import Player
    from services.simulation.recorded import Recorded, parsed_sizes, recorded_spec, supported_rule
    from services.simulation.stage import Stage, simulated_settings
    from services.simulation.summary import summarise
    from services.simulation.traffic import Labelling

    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise InputInvalid(f"--directory is {directory}: it is not empty; a simulation begins with a fresh one")
    if not (0 < label_share <= 1 and days > 0 and label_delay_hours > 0):
        raise InputInvalid("--label-share lies in (0, 1]; --days and --label-delay-hours are above 0")
    table = read_outcomes(outcomes, timezone=timezone)
    recorded = Recorded.of(table)
    labelling = Labelling(share=label_share, median_delay=timedelta(hours=label_delay_hours))
    spec = recorded_spec(
        table,
        name="recorded",
        targets=Targets(value=max_accuracy_drop, delta=delta, rule=supported_rule(table, PolicyKind(rule))),
        exploration_rate=exploration,
        horizon=3 * labelling.median_delay,
        parameters=None if parameters is None else parsed_sizes(parameters),
        since=START,
    )
    queries = recorded.queries(START, days)
    if directory is None:
        Path("var/simulate").mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="run-", dir="var/simulate"))
    with Stage(simulated_settings(directory, seed=seed), spec, start=START) as stage:
        player = Player(stage, recorded, labelling, seed=seed)
        with playing(len(queries)) as told:
            player.play(queries, every=timedelta(hours=12), told=told)
            player.wait(stage.clock.now() + spec.horizon + timedelta(days=7), every=timedelta(days=1), told=told)
        summary = summarise(stage, player.played)
    print_record(summary, as_json=as_json)
    typer.echo(
        f"the deployment lies in {directory}; to look at it: KNOWGATE_DATA_DIR={directory} knowgate serve", err=True
    )
    if summary.audit.mismatches or not summary.audit.verified:
        raise Refused("the audit failed: some decision did not replay, or the ledger does not verify")
