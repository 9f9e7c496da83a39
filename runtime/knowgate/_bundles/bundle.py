"""The bundle file: written once, named by its content, refused unless everything in it is as it
must be.

A bundle is one safetensors file: float32 tensors `tier/<i>/…`, and under `__metadata__` one key,
`document`, whose value is the canonical JSON of a `BundleDocument`. Its id is the SHA-256 of the
file. Nothing in it is executed, and the same models and document always give the same bytes.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from knowgate._bundles.bundle_documents import (
    BundleDocument,
    CertificateDocument,
    CertificateStatus,
    ComparisonDocument,
    LabelBasis,
    SignalGain,
    TierDocument,
)
from knowgate._bundles.bundle_versions import SCHEMA, upgrade
from knowgate._bundles.tensor_file import require_tensor_file
from knowgate._bundles.tensors import tensor_names, tier_from_tensors, tier_tensors
from knowgate._bundles.tier_models import TierModels
from knowgate._records.arrays import Float32Array
from knowgate._wire import codec
from knowgate.errors import BundleRefused, RecordInvalid

__all__ = [
    "SCHEMA",
    "SIZE_LIMIT",
    "Bundle",
    "BundleDocument",
    "CertificateDocument",
    "CertificateStatus",
    "ComparisonDocument",
    "LabelBasis",
    "SignalGain",
    "TierDocument",
    "TierModels",
    "read_bundle",
    "read_document",
    "write_bundle",
]

SIZE_LIMIT = 64 * 2**20  # bytes
METADATA_KEY = "document"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A document, the models it describes, and the very bytes that both came from."""

    document: BundleDocument
    tiers: tuple[TierModels | None, ...]  # per non-last tier; None = no probe there
    content: bytes
    id: str  # SHA-256 of `content`, in hex


def write_bundle(document: BundleDocument, tiers: tuple[TierModels | None, ...]) -> Bundle:
    """The bundle of `document` and its tiers' models; equal input gives equal bytes.

    Raises BundleRefused where the two do not fit, or the file is over the size limit.
    """
    documents = tuple(None if models is None else models.document for models in tiers)
    if documents != document.tiers:
        raise BundleRefused("the models do not belong to the document's tiers: give each tier's models in order")
    tensors: dict[str, Float32Array] = {}
    for index, models in enumerate(tiers):
        if models is not None:
            tensors |= tier_tensors(index, models)
    text = codec.canonical(document).decode()
    return read_bundle(save(tensors, metadata={METADATA_KEY: text}))


def read_bundle(content: bytes, *, expected_id: str | None = None) -> Bundle:
    """The bundle in `content`, whose id must be `expected_id` where that is given.

    Raises BundleRefused for anything that must not be served: another hash, a file over the size
    limit, one that is truncated or not safetensors, an unknown version, a document that does not
    hold (thresholds outside [0, 1], parts that do not fit, calibrators that are not monotone),
    tensors that are missing, left over, of a wrong shape or type, or hold numbers that are not
    finite.
    """
    if len(content) > SIZE_LIMIT:
        raise BundleRefused(f"the bundle has {len(content)} bytes: at most {SIZE_LIMIT} are read; use fewer components")
    bundle_id = hashlib.sha256(content).hexdigest()
    if expected_id is not None and bundle_id != expected_id:
        raise BundleRefused(f"the bundle's SHA-256 is {bundle_id}, not {expected_id}: fetch it again")
    document = _read_document(content)
    tensors = _read_tensors(content)
    _require_names(document, set(tensors))
    tiers: list[TierModels | None] = []
    for index, tier in enumerate(document.tiers):
        try:
            tiers.append(None if tier is None else tier_from_tensors(index, tier, tensors))
        except RecordInvalid as error:
            raise BundleRefused(f"tier {index}: {error}") from error
    return Bundle(document=document, tiers=tuple(tiers), content=content, id=bundle_id)


def _read_document(content: bytes) -> BundleDocument:
    try:
        metadata = require_tensor_file(content).metadata
    except RecordInvalid as error:
        raise BundleRefused(f"the file is truncated, damaged or not safetensors ({error}): fetch it again") from error
    try:
        if set(metadata) != {METADATA_KEY}:
            raise BundleRefused(f"__metadata__ must hold {METADATA_KEY!r} and nothing else: this is not a bundle")
        text = metadata[METADATA_KEY]
        parsed = codec.parse(text)
        if not isinstance(parsed, dict) or codec.canonical(parsed).decode() != text:
            raise BundleRefused("the document is not one canonical JSON object: write bundles with write_bundle")
        document = _decoded(parsed)
        # Canonical JSON may still spell a time in another way; the id would then not be the
        # document's.
        other = _other_form(codec.encode(document), parsed, "")
        if other is not None:
            raise BundleRefused(f"{other} is not written as write_bundle writes it: write the bundle anew")
        return document
    except RecordInvalid as error:
        raise BundleRefused(f"the document does not hold: {error}") from error


def read_document(text: str | bytes) -> BundleDocument:
    """A bundle's document from its JSON alone, as stores keep it, of any version that is read here.

    Raises BundleRefused for a version that is not, RecordInvalid for what does not hold.
    """
    return _decoded(codec.parse(text))


def _decoded(parsed: dict[str, object]) -> BundleDocument:
    return codec.decode(BundleDocument, upgrade(parsed))


def _other_form(written: object, parsed: object, path: str) -> str | None:
    """The path of the first value of `parsed` that this runtime would write otherwise; fields left
    out are not asked.
    """
    if isinstance(parsed, dict) and isinstance(written, dict):
        parts = (
            (written.get(key), value, f"{path}.{key}".lstrip(".")) for key, value in parsed.items() if key != "schema"
        )
    elif isinstance(parsed, list) and isinstance(written, list) and len(parsed) == len(written):
        parts = ((one, value, f"{path}[{at}]") for at, (one, value) in enumerate(zip(written, parsed, strict=True)))
    else:
        return None if written == parsed else path
    return next((other for part in parts if (other := _other_form(*part)) is not None), None)


def _read_tensors(content: bytes) -> dict[str, Float32Array]:
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise BundleRefused(f"the file is truncated or not safetensors ({error}): fetch it again") from error
    tensors: dict[str, Float32Array] = {}
    for name, entry in entries:
        if entry["dtype"] != "F32":
            raise BundleRefused(f"tensor {name} is of type {entry['dtype']}: float32 is expected")
        tensors[name] = np.frombuffer(entry["data"], dtype="<f4").reshape(entry["shape"])
    return tensors


def _require_names(document: BundleDocument, names: set[str]) -> None:
    wanted: set[str] = set()
    for index, tier in enumerate(document.tiers):
        if tier is not None:
            wanted |= tensor_names(index, tier)
    missing, extra = sorted(wanted - names), sorted(names - wanted)
    if missing:
        raise BundleRefused(f"tensor {missing[0]} is missing: write bundles with write_bundle")
    if extra:
        raise BundleRefused(f"tensor {extra[0]} belongs to no tier of the document: write bundles with write_bundle")
