"""Options that several commands share, so that one word means one thing everywhere."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from evidence.certification.certificate import Target
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import CERTIFIABLE_KINDS, TargetKind
from services.errors import InputInvalid
from services.words import require_words

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Cascade = Annotated[str, typer.Option("--cascade", help="The cascade's name.")]
Timezone = Annotated[
    str | None,
    typer.Option(help="Where times without an offset were written, e.g. Europe/Paris; else they are refused."),
]
ColumnNames = Annotated[
    str | None,
    typer.Option("--map", help="field=column for columns of other names, e.g. query_id=id; field= leaves one out."),
]
Outcomes = Annotated[Path, typer.Argument(help="An outcome table: Parquet, CSV or JSONL.")]
MaxDrop = Annotated[
    float | None, typer.Option(help="The drop allowed against the last tier; 0.02 unless another target is given.")
]
RetainedAccuracy = Annotated[float | None, typer.Option(help="Instead: how often a retained answer must be right.")]
MinRetainedShare = Annotated[float, typer.Option(help="Retaining less than this is not worth a cascade.")]


def said(option: typer.CallbackParam, given: str | None) -> str | None:
    """What a history keeps for ever says something. Raises InputInvalid."""
    if given is not None:
        require_words(**{f"--{str(option.name).replace('_', '-')}": given})
    return given


By = Annotated[
    str | None,
    typer.Option(
        callback=said, help="Who; left out, KNOWGATE_OPERATOR, else the name of the user that runs the command."
    ),
]
FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"]
Start = Annotated[
    datetime | None, typer.Option(formats=FORMATS, help="From this time on; a date begins at midnight UTC.")
]
End = Annotated[datetime | None, typer.Option(formats=FORMATS, help="Until this time; a date begins at midnight UTC.")]


def require_folder(path: Path, name: str) -> None:
    """Refuses a file to write whose folder is not there, before any work is done: a slip must not
    make folders.

    Raises InputInvalid.
    """
    if path.is_dir():
        raise InputInvalid(f"{name} is {path}: that is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputInvalid(f"{name} is {path}: the folder {path.parent} is not there; make it, or name another")


def stated_target(max_accuracy_drop: float | None, retained_accuracy: float | None) -> Target:
    """The promise that is asked for; a drop of two points where nothing is. Raises InputInvalid for
    both at once.
    """
    if max_accuracy_drop is not None and retained_accuracy is not None:
        raise InputInvalid("--max-accuracy-drop and --retained-accuracy are two targets: give one")
    if retained_accuracy is not None:
        return Target(kind=TargetKind.RETAINED_ACCURACY, value=retained_accuracy)
    return Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02 if max_accuracy_drop is None else max_accuracy_drop)


def window_until(start: datetime | None, end: datetime | None, now: datetime) -> Window:
    """What --start and --end name; the 28 days before the end where no start is given."""
    until = aware(end) or now
    return Window(start=aware(start) or until - timedelta(days=28), end=until)


def certified_kind(text: str) -> PolicyKind:
    """The kind of policy of this name that a table can certify. Raises InputInvalid."""
    if text not in CERTIFIABLE_KINDS:
        raise InputInvalid(f"--rule is {str(text)!r}: use one of {', '.join(CERTIFIABLE_KINDS)}")
    return PolicyKind(text)


def aware(time: datetime | None) -> datetime | None:
    """A time of the command line in UTC; one without an offset can only be a date, which means
    midnight UTC.
    """
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
