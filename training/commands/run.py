"""`python -m training run`: train one window of one cascade."""

import argparse
import faulthandler
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from knowgate._records.records import Window
from knowgate.spec import Privacy
from store.engine import closing_engine, reading
from store.jobs.trainer_reports import TrainingOutcome
from store.releases.cascades import cascade as read_cascade
from training.commands.engine_options import add_engine, chosen_cluster
from training.commands.process_options import add_process, aware_time, claim_from, clock_from, seconds

if TYPE_CHECKING:
    from training.extraction import Answerer
    from training.probes.fit import FitProbe

LEASE = timedelta(minutes=5)


def add_run(run: argparse.ArgumentParser) -> None:
    """The options of the command."""
    run.set_defaults(command=train)
    run.add_argument("--cascade", required=True)
    run.add_argument("--start", type=aware_time, required=True, help="start of the window of decision time")
    run.add_argument(
        "--end", type=aware_time, required=True, help="its end; younger decisions than the horizon are left out"
    )
    run.add_argument("--as-of", type=aware_time, required=True, help="labels known at this time count")
    run.add_argument("--claim", help="the scheduler's claim that this process works for, as JSON")
    add_engine(run)
    run.add_argument("--lease", type=seconds, default=LEASE, help="seconds of silence before others take over")
    run.add_argument("--limit", type=seconds, help="seconds after which a training that has not ended ends itself")
    run.add_argument("--warm-start", action="store_true", help="start linear probes from the champion's")
    run.add_argument("--accelerator", default="cpu", help="cpu, gpu or auto")
    run.add_argument("--devices", type=int, default=1, help="processes that share the rows, one per device")
    run.add_argument("--precision", default="32-true", help="or bf16-mixed, where the device pays for it")
    add_process(run)


def train(options: argparse.Namespace) -> TrainingOutcome:
    """What became of the window."""
    if options.limit is not None:
        # From C, so that it also ends a process that hangs in a library; where each thread stood is
        # said first.
        faulthandler.dump_traceback_later(options.limit.total_seconds(), exit=True)
    from training.pipeline import train_window
    from training.probes.probe_settings import FitSettings
    from training.probes.trainer import TrainerSettings
    from training.window_run import TrainingSettings

    trainer = TrainerSettings(
        accelerator=options.accelerator,
        devices=options.devices,
        precision=options.precision,
        # Spawned within the fit: everything around it, publishing above all, happens once.
        strategy="auto" if options.devices == 1 else "ddp_spawn",
    )
    try:
        with closing_engine(options.database_url) as engine:
            return train_window(
                engine,
                options.cascade,
                Window(start=options.start, end=options.end),
                as_of=options.as_of,
                claim=claim_from(engine, options.claim),
                settings=TrainingSettings(
                    lease=options.lease, warm_start=options.warm_start, fit=FitSettings(trainer=trainer)
                ),
                answerers=_answerers(engine, options.cascade),
                clock=clock_from(options.now),
                fit=_fit(options),
            )
    finally:
        faulthandler.cancel_dump_traceback_later()


def _fit(options: argparse.Namespace) -> "FitProbe":
    """What fits the probes: this process, or the workers of a cluster."""
    ray = chosen_cluster(options)
    if ray is None:
        from training.probes.fit import fit_probe

        return fit_probe
    from training.engines.ray_training import RayFit

    return RayFit(ray)


def _answerers(engine: Engine, cascade: str) -> "dict[int, Answerer]":
    """What reads stored prompts again: encoders of black boxes, and models in process that compare
    several layers.
    """
    with reading(engine) as session:
        spec = read_cascade(session, cascade)
    wanted = [
        (at, tier)
        for at, tier in enumerate(spec.tiers[:-1])
        if spec.privacy is Privacy.FULL
        and (tier.encoder is not None or (tier.backend == "transformers" and len(tier.layers) > 1))
    ]
    if not wanted:
        return {}
    from knowgate.backends.loading import load_tier
    from training.extraction import Answerer, encoder_of

    return {
        at: Answerer(load_tier(tier), layers=tier.layers)
        if tier.encoder is None
        else encoder_of(tier.encoder, layers=tier.layers or None)
        for at, tier in wanted
    }
