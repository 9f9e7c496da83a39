"""`knowgate certify OUTCOMES`: thresholds with a guarantee, from an outcome table."""

from pathlib import Path
from typing import Annotated

import typer

from knowgate.policy import PolicyKind
from knowgate.records import LabelSource


def certify(
    outcomes: Annotated[Path, typer.Argument(help="An outcome table: Parquet, CSV or JSONL.")],
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            help="The drop allowed against always asking the last tier; 0.02 is two points. The default target."
        ),
    ] = None,
    retained_accuracy: Annotated[
        float | None, typer.Option(help="Instead: how often a retained answer must be right.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The chance that the promise is broken.")] = 0.1,
    rule: Annotated[
        PolicyKind,
        typer.Option(help="p_t, p_ik, gates (p_ik and p_t), or score (learned on a hashed half of the queries)."),
    ] = PolicyKind.P_T,
    min_retained_share: Annotated[float, typer.Option(help="Retaining less than this is not worth a cascade.")] = 0.05,
    slice_name: Annotated[
        str | None, typer.Option("--slice", help="Certify the queries of this slice alone, and for it alone.")
    ] = None,
    trust: Annotated[
        list[LabelSource] | None,
        typer.Option(
            help="Also take this source's labels for the truth. Of a judge: the promise is agreement with it."
        ),
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Where times without an offset were written.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Choose the boldest thresholds that keep the promise with confidence 1 − delta.

    Exits with 0 when certified and with 3 when not: infeasible, or insufficient evidence.
    """
    from evidence import CertificationStatus, Target, TargetKind
    from services.certification import TRUSTED, certify_table
    from services.clock import SystemClock
    from services.commands.printing import print_record
    from services.errors import InputInvalid
    from services.history.certifiable import refuse_uncertifiable
    from services.history.outcomes import read_outcomes

    if max_accuracy_drop is not None and retained_accuracy is not None:
        raise InputInvalid("--max-accuracy-drop and --retained-accuracy are two targets: give one")
    if retained_accuracy is not None:
        target = Target(kind=TargetKind.RETAINED_ACCURACY, value=retained_accuracy)
    else:
        drop = 0.02 if max_accuracy_drop is None else max_accuracy_drop
        target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=drop)
    table = read_outcomes(outcomes, timezone=timezone)
    if slice_name is not None:
        table = table.of_slice(slice_name)
    trusted = tuple(source for source in LabelSource if source in TRUSTED or source in (trust or ()))
    table = table.trusting(trusted)
    refuse_uncertifiable(table, rule, SystemClock().now())
    answer = certify_table(
        table, rule=rule, target=target, delta=delta, min_retained_share=min_retained_share, trusted=trusted
    )
    print_record(answer, as_json=as_json)
    if answer.promise.startswith("agreement"):
        typer.echo(f"this is about {answer.promise}", err=True)
    if answer.label_basis.forecasts_left_out is not None:
        typer.echo(answer.label_basis.forecasts_left_out, err=True)
    if answer.status is not CertificationStatus.CERTIFIED:
        raise typer.Exit(3)
