"""Bundles by id, by the start of an id, or as a file; and how two of them differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load
from sqlalchemy.orm import Session

from knowgate import Bundle, read_bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._wire import codec
from services.errors import InputInvalid
from store.releases import bundles, cascades
from store.releases.bundles import BundleRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where two bundles differ."""

    where: str  # a path in the document, or a tensor's name
    first: str | None  # None = not there
    second: str | None


def all_bundles(session: Session) -> tuple[BundleRecord, ...]:
    """Every stored bundle, by cascade, newest first."""
    return tuple(record for name in cascades.cascade_names(session) for record in bundles.bundles(session, name))


def bundle_bytes(session: Session, named: str) -> tuple[str | None, bytes]:
    """The id that was asked for (None for a file, which is asked for no id) and the bytes.

    `named` is a file, an id, or the start of one. Raises InputInvalid.
    """
    path = Path(named)
    if path.suffix == ".safetensors":
        try:
            return None, path.read_bytes()
        except OSError as error:
            raise InputInvalid(f"{path} cannot be read: {error.strerror}; check the path") from None
    found = stored_id(session, named)
    return found, bundles.bundle_content(session, found)


def stored_id(session: Session, named: str, *, of: str | None = None) -> str:
    """The whole id of the stored bundle whose id starts so; `of` a cascade, whoever asks may not be
    meant to know of another's, but by its whole id. Raises InputInvalid.
    """
    matches = [
        record.id
        for record in all_bundles(session)
        if record.id.startswith(named) and (of in (None, record.cascade) or record.id == named)
    ]
    if len(matches) != 1:
        matching = "no bundle has" if not matches else f"{len(matches)} bundles have"
        raise InputInvalid(f"{matching} an id that starts with {named!r}; `knowgate bundle show` lists all")
    return matches[0]


def sealed_document(session: Session, bundle_id: str) -> BundleDocument:
    """What the bundle's file says of itself, which its id vouches for; the row beside it is only
    there to be listed.

    Raises BundleUnknown, BundleDamaged, BundleRefused.
    """
    return read_bundle(bundles.bundle_content(session, bundle_id), expected_id=bundle_id).document


def differences(first: Bundle, second: Bundle) -> tuple[Difference, ...]:
    """Where two bundles differ: in their documents, and in their tensors with the largest change of
    any number.
    """
    one, other = _flat(codec.encode(first.document)), _flat(codec.encode(second.document))
    changed = [
        Difference(where=where, first=_text(one, where), second=_text(other, where))
        for where in sorted({*one, *other})
        if one.get(where, _ABSENT) != other.get(where, _ABSENT)
    ]
    tensors, others = load(first.content), load(second.content)
    for name in sorted({*tensors, *others}):
        a, b = tensors.get(name), others.get(name)
        if a is None or b is None or a.shape != b.shape:
            changed.append(Difference(where=name, first=_shape(a), second=_shape(b)))
        elif not np.array_equal(a, b):
            change = f"largest change {float(np.abs(a - b).max()):.4g}"
            changed.append(Difference(where=name, first=_shape(a), second=f"{_shape(b)}, {change}"))
    return tuple(changed)


def read_named(session: Session, named: str) -> Bundle:
    """The bundle, verified. Raises InputInvalid, BundleRefused."""
    expected, content = bundle_bytes(session, named)
    return read_bundle(content, expected_id=expected)


_ABSENT = object()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            key: item for name, part in value.items() for key, item in _flat(part, f"{path}.{name}".lstrip(".")).items()
        }
    if isinstance(value, list) and value:
        return {key: item for index, part in enumerate(value) for key, item in _flat(part, f"{path}[{index}]").items()}
    return {path: value}


def _text(flat: dict[str, Any], where: str) -> str | None:
    return None if where not in flat else str(flat[where])


def _shape(tensor: Any) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
