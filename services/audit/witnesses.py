"""Witnesses: others who looked at the ledger as it grew, and put their names under its heads.

A head that two of them signed is one that nobody was shown another in place of. A witness signs the
checkpoint itself (Ed25519), or the checkpoint with the time it was seen at (`cosignature/v1` of
C2SP tlog-cosignature). Its key is written as tools for signed notes write it: name, key id and key
with `+` between.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from knowgate._bundles import signing
from services.audit.findings import Findings
from services.audit.heads import ED25519, KEY_ID_BYTES, Head, key_id
from services.errors import InputInvalid

COSIGNATURE = b"\x04"
_TIME_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Whose name may stand under a head."""

    name: str
    kind: bytes  # ED25519 or COSIGNATURE
    public_key: str  # hex

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.kind, self.public_key)


def read_witness(written: str) -> Witness:
    """The witness of a verifier key. Raises InputInvalid."""
    said = f"witness key {written[:60]!r}: NAME+KEYID+KEY is expected, as the witness publishes it"
    found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", written)
    if found is None:
        raise InputInvalid(said)
    try:
        key = base64.b64decode(found[3], validate=True)
    except binascii.Error:
        raise InputInvalid(said) from None
    if len(key) != 1 + signing.KEY_BYTES or key[:1] not in (ED25519, COSIGNATURE):
        raise InputInvalid(f"{said}; of Ed25519 keys, with or without a time")
    witness = Witness(name=found[1], kind=key[:1], public_key=key[1:].hex())
    if witness.key_id.hex() != found[2]:
        raise InputInvalid(f"{said}; this key's id is not {found[2]}")
    return witness


def check_witness(findings: Findings, head: Head, witness: Witness) -> None:
    """A head that the witness did not sign is a problem."""
    named = [signed for name, signed in head.others if (name, signed[:KEY_ID_BYTES]) == (witness.name, witness.key_id)]
    if not named:
        findings.problem("head", "head", head.batches, f"witness {witness.name} did not sign it")
    elif not any(_holds(head, witness, signed[KEY_ID_BYTES:]) for signed in named):
        what = f"the signature of witness {witness.name} is not over what it says"
        findings.problem("head", "head", head.batches, what)


def _holds(head: Head, witness: Witness, signed: bytes) -> bool:
    text = head.text.encode()
    if witness.kind == COSIGNATURE:
        seen = int.from_bytes(signed[:_TIME_BYTES], "big")
        text, signed = f"cosignature/v1\ntime {seen}\n".encode() + text, signed[_TIME_BYTES:]
    return signing.verify(witness.public_key, text, signed.hex())
