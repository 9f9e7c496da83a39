"""The worlds played: real API, database, jobs, training and runtime on a clock that is set by hand.

What rings after the shift is given in days since it, with its cause; what rang before it is a false
alarm. What really happened (accuracy lost, share kept, savings) is counted beside it.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.playback.worlds import AFTER, SHIFT, START, World, mmlu, qwen
from benchmarks.shape import Figures, recorded_data
from monitoring.names import Rule
from services.simulation.play import Played, Player, Progress, Truth
from services.simulation.stage import Stage, simulated_settings
from services.simulation.traffic import Labelling
from store.engine import reading
from store.watching.alerts import AlertRecord, alerts

SEED = 20261130
STEP = timedelta(hours=12)
STEADY = timedelta(days=3)  # before the shift, in which a champion decides
LABELLING = Labelling(share=1.0, median_delay=timedelta(hours=18), spread=0.4)
WORLDS: tuple[Callable[[Path], World], ...] = (mmlu, qwen)


def measure(quick: bool) -> Figures:
    """What rang in each world; `quick` plays a fifth of the traffic."""
    folder = recorded_data()
    if folder is None:
        return {"skipped": "the recorded outcomes are not here; set KNOWGATE_RECORDED_DATA"}
    figures: dict[str, float | int | str | None] = {}
    for make in WORLDS:
        world = make(folder)
        figures |= {f"{world.name}.{name}": value for name, value in play(world, share=0.2 if quick else 1.0).items()}
    return figures


def play(world: World, *, share: float = 1.0) -> dict[str, float | int | str | None]:
    """One world's figures; `share` of its traffic is played."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(simulated_settings(Path(folder) / "stage", seed=SEED), world.spec, start=START) as stage,
    ):
        player = Player(stage, world, LABELLING, seed=SEED)
        player.play(world.queries(SEED, share), every=STEP, report=_report)
        player.wait(stage.clock.now() + world.spec.horizon, every=STEP, report=_report)
        with reading(stage.engine) as session:
            raised = alerts(session, world.spec.name)
    return {**_counted(player.played), **_heard(raised), **_moves(player.played)}


def _report(progress: Progress) -> None:
    for event in progress.events:
        sys.stderr.write(f"{event.at:%m-%d %H:%M}  {event.what:<10} {event.text}\n")


def _counted(played: Played) -> dict[str, float | int | str | None]:
    figures: dict[str, float | int | str | None] = {}
    for half, start, end in (("before", SHIFT - STEADY, SHIFT), ("after", SHIFT, SHIFT + AFTER)):
        truth = sum((block for at, block in played.blocks if start < at <= end), Truth())
        figures[f"kept_{half}"] = truth.share(truth.retained)
        figures[f"accuracy_lost_{half}"] = truth.share(truth.right_last - truth.right_cascade)
        figures[f"savings_{half}"] = 1.0 - truth.cost_usd / truth.cost_usd_last if truth.cost_usd_last else None
    return figures


def _heard(raised: Sequence[AlertRecord]) -> dict[str, float | int | str | None]:
    """Per rule the days from the shift to its first alert after it, and why."""
    figures: dict[str, float | int | str | None] = {"rang_before": sum(one.opened_at <= SHIFT for one in raised)}
    after = [one for one in raised if one.opened_at > SHIFT]
    first = {rule: next((one for one in after if one.rule == rule), None) for rule in Rule}
    for rule, one in first.items():
        if one is not None:
            figures[f"{rule}.days"] = (one.opened_at - SHIFT) / timedelta(days=1)
            figures[f"{rule}.cause"] = one.cause
            ended = one.resolved_at
            figures[f"{rule}.over_days"] = None if ended is None else (ended - SHIFT) / timedelta(days=1)
    figures["silent"] = ", ".join(rule for rule, one in first.items() if one is None)
    return figures


def _moves(played: Played) -> dict[str, float | int | str | None]:
    """What decided, and what was trained, since the shift, in days from it."""
    since = [event for event in played.events if event.at > SHIFT and event.what not in ("alert", "resolved")]
    lines = [f"{(event.at - SHIFT) / timedelta(days=1):.1f}: {event.what} {event.text}" for event in since]
    return {"moves": "; ".join(lines)}
