"""Cascades as their owners declare them, every version kept.

A version is never changed: a decision names the one whose prices filled its costs. Applying what is
already in force makes no new version.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from store import dialects
from store.errors import CascadeUnknown, RecordUnreadable
from store.rejections import storable
from store.tables import CascadeRow, CascadeVersionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One version of a cascade."""

    version: int
    applied_at: datetime
    spec: CascadeSpec | None  # None: it holds a value that is refused by now


def apply_cascade(session: Session, spec: CascadeSpec, *, now: datetime) -> int:
    """Put `spec` in force; its version, counted from 1. An unchanged spec keeps the
    version it has.
    """
    dialects.lock(session, f"knowgate.cascade.{spec.name}")
    version = session.scalar(select(CascadeRow.version).where(CascadeRow.name == spec.name))
    if version is not None and _in_force(session, spec.name) == spec:
        return version
    if version is None:
        row = {"name": spec.name, "version": 1, "applied_at": now}
        dialects.insert_new(session, CascadeRow, [row], returning="name")
    else:
        session.execute(
            update(CascadeRow).where(CascadeRow.name == spec.name).values(version=version + 1, applied_at=now)
        )
    fresh = (version or 0) + 1
    declared = {"cascade": spec.name, "version": fresh, "spec": codec.encode(spec), "applied_at": now}
    dialects.insert_new(session, CascadeVersionRow, [declared], returning="version")
    return fresh


def _in_force(session: Session, name: str) -> CascadeSpec | None:
    """The spec in force; None where it holds a value that is refused by now, so that a mended one
    can replace it.
    """
    try:
        return cascade(session, name)
    except RecordInvalid:
        return None


def cascade(session: Session, name: str) -> CascadeSpec:
    """The spec in force. Raises CascadeUnknown and RecordUnreadable."""
    return versioned_cascade(session, name)[1]


def cascade_version(session: Session, name: str) -> int:
    """The version in force. Raises CascadeUnknown."""
    return _stored(session, name)[0]


def versioned_cascade(session: Session, name: str) -> tuple[int, CascadeSpec]:
    """The version in force, and its spec. Raises CascadeUnknown and RecordUnreadable."""
    version, document = _stored(session, name)
    try:
        return version, codec.decode(CascadeSpec, document)
    except RecordInvalid as error:
        cure = "apply a good file again: `knowgate cascade apply FILE`"
        raise RecordUnreadable(name, "declaration", error, cure) from error


def _stored(session: Session, name: str) -> tuple[int, Any]:
    """The version in force, and its spec as it is stored."""
    if not storable(name):
        raise CascadeUnknown(name, cascade_names(session))
    row = session.execute(
        select(CascadeVersionRow.version, CascadeVersionRow.spec)
        .join(
            CascadeRow,
            (CascadeRow.name == CascadeVersionRow.cascade) & (CascadeRow.version == CascadeVersionRow.version),
        )
        .where(CascadeRow.name == name)
    ).one_or_none()
    if row is None:
        raise CascadeUnknown(name, cascade_names(session))
    return row.version, row.spec


def declared_p_t_kinds(session: Session, name: str) -> dict[tuple[int, int], str]:
    """By version and tier, which probability that tier was declared to send as P(T).

    A version that holds a value which is refused by now tells nothing of its tiers, and hides no
    other version's.
    """
    return {
        (version, at): tier.p_t_kind.value
        for version, spec in _versions(session, name)
        for at, tier in enumerate(spec.tiers)
    }


def declared_label_coins(session: Session, name: str) -> dict[int, str]:
    """By version, how the labels of one decision's answers were declared to be drawn.

    A version that cannot be read is left out.
    """
    return {version: spec.label_coin.value for version, spec in _versions(session, name)}


def models_changed_at(session: Session, name: str) -> datetime | None:
    """When the cascade was last given other models than it had before; None where it never was.

    A version that cannot be read is passed over.
    """
    query = (
        select(CascadeVersionRow.spec, CascadeVersionRow.applied_at)
        .where(CascadeVersionRow.cascade == name)
        .order_by(CascadeVersionRow.version)
    )
    before: tuple[tuple[str, str], ...] | None = None
    changed_at: datetime | None = None
    for row in session.execute(query):
        with suppress(RecordInvalid):
            spec = codec.decode(CascadeSpec, row.spec)
            models = tuple((tier.named_model, tier.revision) for tier in spec.tiers)
            changed_at = row.applied_at if before is not None and models != before else changed_at
            before = models
    return changed_at


def versions_applied(session: Session, name: str) -> tuple[tuple[int, datetime], ...]:
    """Every version of the cascade, and when it was put in force, the first one first."""
    query = select(CascadeVersionRow.version, CascadeVersionRow.applied_at)
    named = query.where(CascadeVersionRow.cascade == name).order_by(CascadeVersionRow.version)
    return tuple((row.version, row.applied_at) for row in session.execute(named))


def declarations(session: Session, name: str) -> tuple[Declaration, ...]:
    """Every version of the cascade, the first one first."""
    query = select(CascadeVersionRow).where(CascadeVersionRow.cascade == name).order_by(CascadeVersionRow.version)
    found = []
    for row in session.scalars(query):
        spec = None
        with suppress(RecordInvalid):
            spec = codec.decode(CascadeSpec, row.spec)
        found.append(Declaration(version=row.version, applied_at=row.applied_at, spec=spec))
    return tuple(found)


def _versions(session: Session, name: str) -> Iterator[tuple[int, CascadeSpec]]:
    """Every version that can be read."""
    query = select(CascadeVersionRow.version, CascadeVersionRow.spec).where(CascadeVersionRow.cascade == name)
    for row in session.execute(query):
        with suppress(RecordInvalid):
            yield row.version, codec.decode(CascadeSpec, row.spec)


def cascade_names(session: Session) -> tuple[str, ...]:
    """The names of all cascades, sorted."""
    return tuple(session.scalars(select(CascadeRow.name).order_by(CascadeRow.name)))
