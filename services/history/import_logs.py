"""`knowgate import --from SYSTEM`: what models answered, from the logs of another system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from knowgate._deciding.privacy import SecretKey
from knowgate.spec import CascadeSpec
from services.errors import InputInvalid, TableInvalid
from services.history.import_outcomes import import_outcomes
from services.history.logged_calls import CallReader, LogSource
from services.history.logged_decisions import gathered
from store.engine import reading
from store.releases import cascades

SHOWN = 8  # reasons in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Calls that were not taken."""

    reason: str
    calls: int

    def __str__(self) -> str:
        return f"{self.calls} × {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLog:
    """What an import of logs did."""

    cascade: str
    rows_read: int
    decisions: int
    duplicates: int
    undeclared: int  # attempts of models that the cascade does not declare; nothing is learned from them
    repeated: int  # calls of a tier that was asked again for the same query; the later answer counts
    complete: bool  # every tier answered every query, so that each ran with certainty
    left_out: tuple[LeftOut, ...]


def import_log(
    engine: Engine,
    source: LogSource,
    cascade: str,
    *,
    key: SecretKey,
    now: datetime,
    report: Callable[[int], None] = lambda _: None,
) -> ImportedLog:
    """Stores the logged calls as history of `cascade`; `report` as in `import_outcomes`.

    Raises CascadeUnknown, InputInvalid for a tier that the cascade has not, and TableInvalid for a
    log that holds nothing to store, or a row that cannot be used.
    """
    with reading(engine) as session:
        spec = cascades.cascade(session, cascade)
    _require_tiers(source.tiers, spec)
    reader = CallReader(source, spec)
    with gathered(reader.calls(), cascade, tiers=len(spec.tiers)) as calls:
        left_out = tuple(LeftOut(reason=reason, calls=count) for reason, count in reader.left_out.most_common())
        if calls.queries == 0:
            files = ", ".join(file.name for file in source.files)
            why = "; ".join(map(str, left_out[:SHOWN])) or "there are no rows"
            cure = f"name the models with --tier MODEL={spec.last}, and what else --map is to find"
            raise TableInvalid(f"{files}: no answered call of {', '.join(source.tiers)} ({why}): {cure}")
        done = import_outcomes(engine, calls.decisions(), cascade, key=key, now=now, report=report)
        return ImportedLog(
            cascade=cascade,
            rows_read=reader.rows,
            decisions=done.decisions,
            duplicates=done.duplicates,
            undeclared=done.undeclared,
            repeated=calls.repeated,
            complete=calls.complete,
            left_out=left_out,
        )


def parse_tiers(texts: list[str]) -> dict[str, int]:
    """`gpt-4o-mini=0` as a mapping from model to tier. Raises InputInvalid."""
    tiers: dict[str, int] = {}
    for text in texts:
        model, _, tier = text.rpartition("=")
        if not model or not (tier.isascii() and tier.isdecimal()) or int(tier) > 31:
            raise InputInvalid(f"--tier is {text!r}: write MODEL=NUMBER, the cheapest tier 0")
        if tiers.setdefault(model, int(tier)) != int(tier):
            raise InputInvalid(f"--tier names {model!r} for two tiers; a model is of one")
    return tiers


def _require_tiers(tiers: Mapping[str, int], spec: CascadeSpec) -> None:
    beyond = next((f"{model}={tier}" for model, tier in tiers.items() if tier > spec.last), None)
    if beyond is not None:
        raise InputInvalid(f"--tier is {beyond!r}: cascade {spec.name} has tiers 0 to {spec.last}")
