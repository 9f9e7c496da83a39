"""`python -m training`: what the scheduler starts, and what a person may. The last line is one JSON
record of what came of it.

Exit status: 0 = there is an outcome (also "infeasible", "insufficient_evidence" and
"saves_nothing"), 1 = it failed, 2 = bad usage, 3 = the claim was lost to another trainer, which
makes its own outcome.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence

from knowgate._wire import codec
from knowgate._wire.shown import MaskingFormatter, masked
from knowgate.errors import KnowgateError
from services.errors import SettingInvalid
from services.settings import read_settings
from store.errors import ClaimLost, StoreError
from training.collector import collect_rarely
from training.commands.drain import add_drain
from training.commands.extract import add_extract
from training.commands.run import add_run
from training.errors import TrainingError

DONE, FAILED, CLAIM_LOST = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        options = options_of(arguments)
        outcome = options.command(options)
    except (SettingInvalid, TrainingError, StoreError, KnowgateError) as error:
        print(f"knowgate training: {masked(str(error))}", file=sys.stderr)  # noqa: T201
        if isinstance(error, SettingInvalid):
            return error.exit_code
        return CLAIM_LOST if isinstance(error, ClaimLost) else FAILED
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, register and extract.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_run(commands.add_parser("run", help="train one window of one cascade"))
    add_drain(commands.add_parser("drain-mlflow", help="register in MLflow what was published"))
    add_extract(commands.add_parser("extract", help="hidden states of a file of prompts"))
    return parser


if __name__ == "__main__":
    collect_rarely()
    sys.exit(main())
