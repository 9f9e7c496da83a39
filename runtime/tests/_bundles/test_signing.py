"""A runtime with a public key refuses what is unsigned or wrongly signed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from factories import make_assignment
from knowgate._bundles.assignment import read_assignment
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.signing import (
    KeyPair,
    new_key_pair,
    public_key_of,
    require_signed_assignment,
    require_signed_bundle,
    sign,
    sign_assignment,
    sign_bundle,
    verify,
)
from knowgate._wire import codec
from knowgate.errors import AssignmentRefused, BundleRefused, RecordInvalid

pytest.importorskip("cryptography", reason="signatures need the extra `signing`")

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)
ASSIGNMENT = make_assignment(generation=3, champion="a" * 64, exploration_rate=0, issued_at=ISSUED)


@pytest.fixture
def keys() -> KeyPair:
    return new_key_pair()


def test_the_signature_of_a_known_key_is_the_one_of_rfc_8032() -> None:
    private = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    assert public_key_of(private) == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert sign(private, b"\x72") == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_signature_holds_for_its_bytes_and_its_key_alone(keys: KeyPair) -> None:
    signature = sign(keys.private_key, b"content")
    assert verify(keys.public_key, b"content", signature)
    assert not verify(keys.public_key, b"Content", signature)
    assert not verify(new_key_pair().public_key, b"content", signature)


@pytest.mark.parametrize("signature", [None, "", "zz", "00" * 64, "00" * 63, "ab" * 65])
def test_what_is_no_signature_does_not_verify(keys: KeyPair, signature: str | None) -> None:
    assert not verify(keys.public_key, b"content", signature)


def test_a_bundle_is_signed_over_its_id(keys: KeyPair, bundle: Bundle) -> None:
    signature = sign_bundle(keys.private_key, bundle.id)
    require_signed_bundle(keys.public_key, bundle.id, signature)
    with pytest.raises(BundleRefused, match="not signed"):
        require_signed_bundle(keys.public_key, bundle.id, None)
    with pytest.raises(BundleRefused, match="not this key's"):
        require_signed_bundle(keys.public_key, "0" * 64, signature)


def test_a_signed_assignment_survives_the_wire(keys: KeyPair) -> None:
    signed = sign_assignment(keys.private_key, ASSIGNMENT)
    received = read_assignment(codec.parse(codec.canonical(signed)))
    assert received == signed
    require_signed_assignment(keys.public_key, received)


def test_an_assignment_that_is_unsigned_or_changed_is_refused(keys: KeyPair) -> None:
    with pytest.raises(AssignmentRefused, match="not signed"):
        require_signed_assignment(keys.public_key, ASSIGNMENT)
    signed = sign_assignment(keys.private_key, ASSIGNMENT)
    with pytest.raises(AssignmentRefused, match="not this key's"):
        require_signed_assignment(keys.public_key, replace(signed, champion="b" * 64))


@pytest.mark.parametrize("key", ["", "abc", "G" * 64, "A" * 64, "a" * 66])
def test_a_malformed_key_is_refused_and_a_private_one_never_shown(key: str) -> None:
    with pytest.raises(RecordInvalid, match="public_key"):
        verify(key, b"content", "00" * 64)
    with pytest.raises(RecordInvalid, match=r"private_key is .*not shown") as refusal:
        sign(key, b"content")
    assert not key or key not in str(refusal.value)


def test_a_key_pair_does_not_print_its_private_key(keys: KeyPair) -> None:
    assert keys.private_key not in repr(keys)
