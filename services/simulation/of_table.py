"""A simulation of an outcome table: what is wanted is checked as a whole, then a stage is made and
the table played.

Playing takes minutes, so everything that would make it pointless is refused first: a table of which
nothing could be certified, options out of range, a folder that holds something.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, Targets
from services.errors import InputInvalid
from services.outcome_tables.certifiable import refuse_untelling
from services.outcome_tables.outcomes import OutcomeTable
from services.settings import Settings
from services.simulation.play import Player, Progress
from services.simulation.recorded import Recorded, parsed_sizes, recorded_spec
from services.simulation.stage import Stage, simulated_settings
from services.simulation.summary import Summary, summarise
from services.simulation.traffic import Asked, Labelling

START = datetime(2026, 1, 1, tzinfo=UTC)  # windows are aligned to the epoch, a Thursday
LONGEST_DAYS = 3650.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A simulation as its options say it."""

    directory: Path | None  # None = a fresh one within the data folder
    max_accuracy_drop: float
    delta: float
    kind: PolicyKind
    days: float
    exploration_rate: float
    label_share: float
    label_delay_hours: float
    parameters: str | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A simulation that can begin."""

    directory: Path
    spec: CascadeSpec
    recorded: Recorded
    queries: list[Asked]
    labelling: Labelling
    seed: int


def prepared(table: OutcomeTable, wanted: Wanted, settings: Settings) -> Setting:
    """Checks everything, then makes the folder. Raises InputInvalid, RecordInvalid."""
    _refuse_options(wanted)
    table, _ = table.within_bounds()
    recorded = Recorded.of(table)
    refuse_untelling(table, wanted.kind)
    labelling = Labelling(share=wanted.label_share, median_delay=timedelta(hours=wanted.label_delay_hours))
    spec = recorded_spec(
        table,
        name="recorded",
        targets=Targets(value=wanted.max_accuracy_drop, delta=wanted.delta, rule=wanted.kind),
        exploration_rate=wanted.exploration_rate,
        horizon=3 * labelling.median_delay,
        parameters=None if wanted.parameters is None else parsed_sizes(wanted.parameters),
        since=START,
    )
    return Setting(
        directory=_directory(wanted.directory, settings.data_dir),
        spec=spec,
        recorded=recorded,
        queries=recorded.queries(START, wanted.days),
        labelling=labelling,
        seed=wanted.seed,
    )


def play_table(setting: Setting, report: Callable[[Progress], None]) -> Summary:
    """Plays the table, lets the last labels come in and the last windows be due, and sums up."""
    with Stage(simulated_settings(setting.directory, seed=setting.seed), setting.spec, start=START) as stage:
        player = Player(stage, setting.recorded, setting.labelling, seed=setting.seed)
        player.play(setting.queries, every=timedelta(hours=12), report=report)
        until = stage.clock.now() + setting.spec.horizon + timedelta(days=7)
        player.wait(until, every=timedelta(days=1), report=report)
        return summarise(stage, player.played)


def _refuse_options(wanted: Wanted) -> None:
    if wanted.kind is not PolicyKind.P_T:
        raise InputInvalid(f"--rule is {wanted.kind}: recorded outcomes carry no hidden states to train on; use p_t")
    if not 0 < wanted.label_share <= 1:
        raise InputInvalid(f"--label-share is {wanted.label_share:g}: give a share above 0 and at most 1")
    for name, value, most in (
        ("--days", wanted.days, LONGEST_DAYS),
        ("--label-delay-hours", wanted.label_delay_hours, LONGEST_DAYS * 24),
    ):
        if not (math.isfinite(value) and 0 < value <= most):
            raise InputInvalid(f"{name} is {value:g}: give a number above 0 and at most {most:g}")
    if wanted.seed < 0:
        raise InputInvalid(f"--seed is {wanted.seed}: give a whole number of at least 0")


def _directory(given: Path | None, data_dir: Path) -> Path:
    if given is None:
        parent = data_dir / "simulate"
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise InputInvalid(f"--directory is {given}: it holds something; a simulation begins with a fresh folder")
    if not given.absolute().parent.is_dir():
        raise InputInvalid(f"--directory is {given}: the folder {given.parent} is not there; make it, or name another")
    return given
