"""`knowgate labels delays` and `knowgate labels estimate`: how late labels come, and
what they say.
"""

from datetime import datetime
from typing import Annotated

import typer

from evidence.bounds.binomial import Proportion
from knowgate._wire import codec
from services.clock import SystemClock
from services.commands.options import AsJson, Cascade, End, Start, aware, window_until
from services.commands.printing import print_json, print_rows
from services.database import database
from services.labelling.delays import delay_curves
from services.labelling.estimates import label_estimates
from services.settings import read_settings
from store.engine import reading

AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"], help="With the labels known at this time; now if left out."
    ),
]


def delays(cascade: Cascade, start: Start = None, end: End = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show what share of the answers has its label by each age, per source; young decisions count
    as watched so far.
    """
    at = aware(as_of) or SystemClock().now()
    window = window_until(start, end, at)
    with database(read_settings()) as engine, reading(engine) as session:
        points = delay_curves(session, cascade, window, as_of=at)
    columns = ("source", "age", "share", "low", "high", "of_horizon", "watched", "horizon", "awaited")
    print_rows("delays", points, as_json=as_json, columns=columns)


def estimate(
    cascade: Cascade,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    largest_weight: Annotated[
        float, typer.Option(min=1.0, help="Weights of the clipped estimate are cut here; its bias is stated.")
    ] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Estimate accuracy and drop from the labels: naive, weighted, clipped, with a forecast, with a
    corrected grader.
    """
    at = aware(as_of) or SystemClock().now()
    window = window_until(start, end, at)
    with database(read_settings()) as engine, reading(engine) as session:
        estimated = label_estimates(session, cascade, window, as_of=at, largest_weight=largest_weight)
    if as_json:
        print_json(codec.encode(estimated))
        return
    if not estimated.mature:
        typer.echo("immature: labels that are still under way may change every figure", err=True)
    columns = ("figure", "method", "value", "low", "high", "decisions", "erased", "known", "effective_sample_size")
    print_rows("estimates", estimated.estimates, as_json=False, columns=(*columns, "not_identified", "no_interval"))
    if estimated.judge is not None:
        rates = {
            name: _with_interval(getattr(estimated.judge, name))
            for name in ("wrong_called_right", "right_called_wrong")
        }
        row = {**rates, "compared": estimated.judge.compared}
        print_rows("judge", [row], as_json=False, columns=tuple(row))


def _with_interval(share: Proportion | None) -> str | None:
    return None if share is None else f"{share.value:.2g} ({share.lower:.2g} to {share.upper:.2g})"
