"""`python -m training`: what the scheduler starts, and what a person may. The last line is one JSON
outcome.

Exit status: 0 = there is an outcome (also "infeasible" and "insufficient_evidence"), 1 = it failed,
2 = bad usage, 3 = the claim was lost to another trainer, which makes its own outcome.
"""

import argparse
import faulthandler
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Engine

from knowgate._records.records import PTKind, Window
from knowgate._wire import codec
from knowgate._wire.shown import MaskingFormatter, masked
from knowgate.errors import KnowgateError
from services.errors import SettingInvalid
from services.settings import read_settings
from store.engine import open_engine, reading
from store.errors import ClaimLost, StoreError
from store.jobs.job_runs import Claim, job_runs
from training.engines.arguments import add_engine, chosen_cluster
from training.errors import TrainingError, TrainingRefused

if TYPE_CHECKING:  # what a command needs is imported by it: draining an outbox loads no torch
    from training.extraction import Answerer
    from training.probes.fit import FitProbe
    from training.probes.trainer import TrainerSettings

DONE, FAILED, CLAIM_LOST = 0, 1, 3
LEASE = timedelta(minutes=5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        options = options_of(arguments)
        outcome = options.command(options)
    except ClaimLost as lost:
        print(f"knowgate training: {lost}", file=sys.stderr)  # noqa: T201
        return CLAIM_LOST
    except SettingInvalid as error:
        print(f"knowgate training: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except (TrainingError, StoreError, KnowgateError) as error:
        print(f"knowgate training: {masked(str(error))}", file=sys.stderr)  # noqa: T201
        return FAILED
    print(codec.canonical(outcome).decode(), flush=True)  # noqa: T201
    return DONE


def options_of(arguments: Sequence[str] | None, environment: Mapping[str, str] | None = None) -> argparse.Namespace:
    """What a command is given, and of the settings what it is not: arguments show in process lists,
    passwords too.

    Raises SettingInvalid.
    """
    options = _parser().parse_args(arguments)
    settings = read_settings(environment)
    for name, value in {
        "database_url": settings.database_url,
        "mlflow_url": settings.mlflow_url,
        "engine": settings.training_engine,
        "ray_address": settings.ray_address,
        "workers": settings.ray_workers,
        "cpus_per_worker": settings.ray_cpus_per_worker,
        "gpus_per_worker": settings.ray_gpus_per_worker,
    }.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    return options


def _run(options: argparse.Namespace) -> object:
    if options.limit is not None:
        # From C, so that it also ends a process that hangs in a library; where each thread stood is
        # said first.
        faulthandler.dump_traceback_later(options.limit.total_seconds(), exit=True)
    from training.pipeline import TrainingSettings, train_window
    from training.probes.probe_settings import FitSettings

    engine = open_engine(options.database_url)
    try:
        return train_window(
            engine,
            options.cascade,
            Window(start=options.start, end=options.end),
            as_of=options.as_of,
            claim=_claim(engine, options),
            settings=TrainingSettings(
                lease=options.lease, warm_start=options.warm_start, fit=FitSettings(trainer=_trainer(options))
            ),
            answerers=_answerers(engine, options.cascade),
            clock=_clock(options.now),
            fit=_fit(options),
        )
    finally:
        faulthandler.cancel_dump_traceback_later()
        engine.dispose()


def _trainer(options: argparse.Namespace) -> "TrainerSettings":
    """Several processes are spawned within the fit: everything around it, publishing above all,
    happens once.
    """
    from training.probes.trainer import TrainerSettings

    return TrainerSettings(
        accelerator=options.accelerator,
        devices=options.devices,
        precision=options.precision,
        strategy="auto" if options.devices == 1 else "ddp_spawn",
    )


def _drain(options: argparse.Namespace) -> object:
    from training.publishing.mlflow_outbox import drain_mlflow

    engine = open_engine(options.database_url)
    try:
        return drain_mlflow(
            engine, options.mlflow_url, owner=options.owner, clock=_clock(options.now), limit=options.limit
        )
    finally:
        engine.dispose()


def _extract(options: argparse.Namespace) -> object:
    from training.engines.extract_file import extract_file
    from training.engines.extraction import ExtractionEngine
    from training.engines.local import LocalExtraction
    from training.extraction.positions import LAST
    from training.extraction.recipe import AnswererRecipe

    recipe = AnswererRecipe(
        source=options.model,
        revision=options.revision,
        dtype=options.dtype,
        device=options.device,
        layers=None if options.layers is None else tuple(options.layers),
        positions=(LAST,) if options.positions is None else tuple(options.positions),
        options=None if options.options is None else tuple(options.options),
        batch=options.batch,
        tokens=options.tokens,
        normed=options.normed,
        max_new_tokens=options.max_new_tokens,
        p_t_kind=None if options.p_t_kind is None else PTKind(options.p_t_kind),
        compiled=options.compile,
    )
    engine: ExtractionEngine
    ray = chosen_cluster(options)
    if ray is None:
        engine, answerer = LocalExtraction(), recipe.make()
    else:
        from training.engines.ray_extraction import RayExtraction

        engine = cluster = RayExtraction(recipe, ray)
        answerer = cluster.planned()
    return extract_file(
        answerer,
        options.prompts,
        options.out,
        tier=options.tier,
        states_only=options.states_only,
        part_prompts=options.part_prompts,
        engine=engine,
        parts_url=options.parts_url,
    )


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
    from knowgate.spec import Privacy
    from store.releases.cascades import cascade as read_cascade

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
    from training.extraction import Answerer, encoder_of, load_tier

    return {
        at: Answerer(load_tier(tier), layers=tier.layers)
        if tier.encoder is None
        else encoder_of(tier.encoder, layers=tier.layers or None)
        for at, tier in wanted
    }


def _claim(engine: Engine, options: argparse.Namespace) -> Claim | None:
    """The claim that the scheduler made for this process; None for a run by hand."""
    if options.claim is None:
        return None
    if options.owner is None or options.token is None:
        raise TrainingRefused("--claim is given without --owner and --token: give all three")
    with reading(engine) as session:
        found = [run for run in job_runs(session, options.cascade, limit=10_000) if run.id == options.claim]
    if not found or found[0].token != options.token or found[0].finished_at is not None:
        raise ClaimLost(f"claim {options.claim}", options.token)
    run = found[0]
    return Claim(
        id=run.id,
        job=run.job,
        cascade=run.cascade,
        window=run.window,
        owner=options.owner,
        token=options.token,
        lease_until=run.lease_until,
    )


def _clock(now: datetime | None) -> Callable[[], datetime]:
    """The scheduler's clock, carried on from the time it gave; the system's where it gave none."""
    if now is None:
        return lambda: datetime.now(UTC)
    began = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - began)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} is naive; add its offset, e.g. Z")
    return time


def _seconds(text: str) -> timedelta:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return timedelta(seconds=float(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, register and extract.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="train one window of one cascade")
    run.set_defaults(command=_run)
    run.add_argument("--cascade", required=True)
    run.add_argument("--start", type=_time, required=True, help="start of the window of decision time")
    run.add_argument(
        "--end", type=_time, required=True, help="its end; younger decisions than the horizon are left out"
    )
    run.add_argument("--as-of", type=_time, required=True, help="labels known at this time count")
    run.add_argument("--claim", type=UUID, help="id of the job run that this process works for")
    run.add_argument("--owner", help="who claimed it")
    run.add_argument("--token", type=int, help="the claim's fencing token")
    add_engine(run)
    run.add_argument("--lease", type=_seconds, default=LEASE, help="seconds of silence before others take over")
    run.add_argument("--limit", type=_seconds, help="seconds after which a training that has not ended ends itself")
    run.add_argument("--warm-start", action="store_true", help="start linear probes from the champion's")
    run.add_argument("--accelerator", default="cpu", help="cpu, gpu or auto")
    run.add_argument("--devices", type=int, default=1, help="processes that share the rows, one per device")
    run.add_argument("--precision", default="32-true", help="or bf16-mixed, where the device pays for it")
    drain = commands.add_parser("drain-mlflow", help="register in MLflow what was published")
    drain.set_defaults(command=_drain)
    drain.add_argument("--mlflow-url", help="else KNOWGATE_MLFLOW_URL")
    drain.add_argument("--owner", default=f"drain-{os.getpid()}")
    drain.add_argument("--limit", type=int, default=20, help="messages at most")
    for command in (run, drain):
        command.add_argument("--database-url", help="else KNOWGATE_DATABASE_URL")
        command.add_argument("--now", type=_time, help="the caller's clock; else the system's")
    _add_extract(commands.add_parser("extract", help="hidden states of a file of prompts"))
    return parser


def _add_several(parser: argparse.ArgumentParser, name: str, *, help: str, type: Callable[[str], object] = str) -> None:
    """An option of several values: given at once or one by one, all of them count."""
    parser.add_argument(name, type=type, nargs="+", action="extend", help=f"{help}; several, or given repeatedly")


def _add_extract(extract: argparse.ArgumentParser) -> None:
    extract.set_defaults(command=_extract)
    extract.add_argument("--model", required=True, help="a folder in the Hugging Face layout, or a hub id")
    extract.add_argument("--prompts", type=Path, required=True, help="Parquet, CSV or JSONL with query_id and prompt")
    extract.add_argument("--out", type=Path, required=True, help=".npz or .safetensors")
    extract.add_argument("--tier", type=int, default=0)
    _add_several(extract, "--layers", type=int, help="all when left out; 0 is the embedding output")
    _add_several(extract, "--options", help="the allowed answers, one token each")
    _add_several(
        extract,
        "--positions",
        help="last_prompt_token (when left out), last_prompt_token-K, first_token, mean_of_prompt",
    )
    extract.add_argument("--states-only", action="store_true", help="no answers and no P(T); an encoder has none")
    extract.add_argument("--tokens", type=int, help="padded tokens of a batch at most; by the device when left out")
    extract.add_argument("--batch", type=int, help="prompts of a batch at most")
    extract.add_argument(
        "--part-prompts", type=int, default=1024, help="prompts after which progress is safe from a kill"
    )
    extract.add_argument(
        "--parts-url",
        help="a folder or an fsspec URL that is to hold what is done so far; beside the result if left out",
    )
    add_engine(extract)
    extract.add_argument(
        "--p-t-kind",
        choices=[str(kind) for kind in PTKind],
        help="option (the default with --options), first_token (the default without) or mean",
    )
    extract.add_argument("--max-new-tokens", type=int, default=1, help="of an answer")
    extract.add_argument("--compile", action="store_true", help="compile the model's blocks first; for long runs")
    extract.add_argument("--normed", action="store_true", help="apply the final norm")
    extract.add_argument("--revision")
    extract.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    extract.add_argument("--device", default="auto", help="auto is a CUDA device where there is one, else cpu")


if __name__ == "__main__":
    sys.exit(main())
