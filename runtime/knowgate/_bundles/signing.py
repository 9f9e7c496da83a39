"""Ed25519 signatures over bundles and assignments: who may change what decides.

A bundle's signature is detached and over its id, which is the SHA-256 of its bytes; an assignment
carries its own, over its canonical JSON. Keys and signatures are lowercase hex (32 and 64 bytes).
Needs the extra: pip install 'knowgate[signing]'; `cryptography` is imported on first use, so that a
runtime without keys never needs it.
"""

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from knowgate._bundles.assignment import Assignment
from knowgate.errors import AssignmentRefused, BundleRefused, RecordInvalid, SigningUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A private key, for the control plane alone, and the public one, for every runtime."""

    private_key: str = field(repr=False)
    public_key: str


def new_key_pair() -> KeyPair:
    """A fresh random pair. Raises SigningUnavailable without the extra `signing`.

    >>> pair = new_key_pair()
    >>> verify(pair.public_key, b"bytes", sign(pair.private_key, b"bytes"))
    True
    """
    private_key = secrets.token_hex(KEY_BYTES)  # any 32 bytes are an Ed25519 private key (RFC 8032)
    return KeyPair(private_key=private_key, public_key=public_key_of(private_key))


def public_key_of(private_key: str) -> str:
    """The public key that belongs to a private one. Raises RecordInvalid for a malformed key."""
    return _private(private_key).public_key().public_bytes_raw().hex()


def sign(private_key: str, content: bytes) -> str:
    """The signature over `content`. Raises RecordInvalid for a malformed key."""
    return _private(private_key).sign(content).hex()


def verify(public_key: str, content: bytes, signature: str | None) -> bool:
    """Whether `signature` is the key's over `content`; None or a malformed one is not.

    Raises RecordInvalid for a malformed key.
    """
    key = _public(public_key)
    if signature is None or not re.fullmatch(r"[0-9a-f]{128}", signature):
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(bytes.fromhex(signature), content)
    except InvalidSignature:
        return False
    return True


def sign_bundle(private_key: str, bundle_id: str) -> str:
    """The detached signature of the bundle with that id."""
    return sign(private_key, bundle_id.encode())


def require_signed_bundle(public_key: str, bundle_id: str, signature: str | None) -> None:
    """Raises BundleRefused unless `signature` is the key's over the bundle's id."""
    if not verify(public_key, bundle_id.encode(), signature):
        raise BundleRefused(f"bundle {bundle_id} {_fault(signature)}")


def sign_assignment(private_key: str, assignment: Assignment) -> Assignment:
    """The same assignment, signed."""
    return replace(assignment, signature=sign(private_key, assignment.signed_bytes))


def require_signed_assignment(public_key: str, assignment: Assignment) -> None:
    """Raises AssignmentRefused unless it is signed by the key."""
    if not verify(public_key, assignment.signed_bytes, assignment.signature):
        subject = f"generation {assignment.generation} of {assignment.cascade}"
        raise AssignmentRefused(f"{subject} {_fault(assignment.signature)}")


def _fault(signature: str | None) -> str:
    if signature is None:
        return "is not signed, and this runtime holds a public key: sign it, or take the key away"
    return "has a signature that is not this key's over these bytes: check which key the control plane signs with"


def _private(key: str) -> "Ed25519PrivateKey":
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise SigningUnavailable from error
    return Ed25519PrivateKey.from_private_bytes(_key_bytes("private_key", key, shown="(not shown)"))


def _public(key: str) -> "Ed25519PublicKey":
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise SigningUnavailable from error
    return Ed25519PublicKey.from_public_bytes(_key_bytes("public_key", key, shown=key))


def _key_bytes(name: str, key: str, *, shown: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise RecordInvalid(name, shown, f"a key is {KEY_BYTES} bytes in lowercase hex; make one with new_key_pair")
    return bytes.fromhex(key)
