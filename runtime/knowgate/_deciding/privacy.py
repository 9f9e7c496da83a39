"""What may leave the process of a prompt or an answer, and every coin that is thrown for a
decision.

One secret key does all of it, through BLAKE2b with a purpose of its own per use: the hash of a
prompt says nothing about the exploration coin, and the challenger's share is independent of both.
The coins are functions of the decision id, the challenger's of the prompt's hash where there is
one, so every process that holds the key throws the same coin for the same decision, and an audit
can throw it again. Without the key nobody can guess which
decisions are explored, nor test whether a prompt was asked.
"""

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from knowgate.errors import RecordInvalid
from knowgate.spec import Privacy

KEY_BYTES = range(16, 65)  # BLAKE2b takes at most 64; under 16 a key can be guessed


class Purpose(bytes, Enum):
    """BLAKE2b personalisation of each use of the key (at most 16 bytes)."""

    PROMPT = b"kg.prompt"
    ANSWER = b"kg.answer"
    EXPLORATION = b"kg.exploration"
    CHALLENGER = b"kg.challenger"
    VECTOR = b"kg.vector"

    __hash__ = bytes.__hash__  # of the value, as `==` is; an enum's own is a function call, once for every coin


class SecretKey:
    """The deployment's hash key.

    `key` is 16 to 64 bytes, the same in every process of a deployment. Without one a random key is
    made: coins work, but texts cannot be hashed, since their hashes would differ from process to
    process.

    >>> key = SecretKey(b"sixteen bytes ok")
    >>> text = "capital of Peru?"
    >>> key.text_hash(Purpose.PROMPT, text) == key.text_hash(Purpose.ANSWER, text)
    False
    """

    __slots__ = ("_coins", "_key", "shared")

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) not in KEY_BYTES:
            raise RecordInvalid("hash_key", f"{len(key)} bytes", "give 16 to 64 random bytes")
        self.shared = key is not None
        self._key = secrets.token_bytes(32) if key is None else bytes(key)
        self._coins = {
            purpose: hashlib.blake2b(digest_size=8, key=self._key, person=purpose)
            for purpose in (Purpose.EXPLORATION, Purpose.CHALLENGER, Purpose.VECTOR)
        }

    def text_hash(self, purpose: Purpose, text: str) -> str:
        """32 hex digits; equal texts of one purpose have equal hashes. Raises RecordInvalid without
        a given key.
        """
        if not self.shared:
            raise RecordInvalid("hash_key", None, "give the deployment's hash_key, or privacy=Privacy.NEVER")
        digest = hashlib.blake2b(storable(text).encode(), digest_size=16, key=self._key, person=purpose)
        return digest.hexdigest()

    def coin(self, purpose: Purpose, thrown_for: UUID | str) -> float:
        """A number in [0, 1), uniform over decision ids, or texts, and fixed for one of them."""
        # A copy of the hash that has taken in key and purpose is half as dear as making one.
        coin = self._coins[purpose].copy()
        coin.update(thrown_for.encode() if isinstance(thrown_for, str) else thrown_for.int.to_bytes(16, "big"))
        return (int.from_bytes(coin.digest(), "big") >> 11) / 2.0**53

    def __repr__(self) -> str:
        return f"SecretKey(shared={self.shared})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredText:
    """What is kept of a text: `text` in full, its keyed `hash`, both or neither."""

    text: str | None = None
    hash: str | None = None


def stored_text(text: str | None, *, privacy: Privacy, key: SecretKey, purpose: Purpose) -> StoredText:
    """What `privacy` lets be stored of a prompt or an answer."""
    if text is None or privacy is Privacy.NEVER:
        return StoredText()
    if privacy is Privacy.HASH:
        return StoredText(hash=key.text_hash(purpose, text))
    return StoredText(text=storable(text), hash=key.text_hash(purpose, text) if key.shared else None)


def storable(text: str) -> str:
    """`text` with U+FFFD for what no database holds: NUL, and the halves of broken
    surrogate pairs.
    """
    if "\0" not in text and text.isprintable():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
