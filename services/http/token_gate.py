"""Whether a token or a sign-in is good, without a query per request.

What a secret stands for is looked up at most every few seconds and remembered in between, so a
revoked token, or a sign-in that was ended at another process, works on for at most that long; an
expiry holds to the second. Only digests are kept in memory.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.engine import reading, transaction
from store.sign_ins import PREFIX, SignInRecord, find_sign_in
from store.tokens import TokenRecord, find_token, note_use

KEEP_S = 10.0
LIMIT = 1024  # remembered secrets; a flood of wrong ones must not fill the memory


class TokenGate:
    """Looks plaintext secrets up in the store."""

    def __init__(self, engine: Engine, *, keep_s: float = KEEP_S, tick: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._keep_s = keep_s
        self._tick = tick
        self._known: dict[bytes, tuple[float, TokenRecord | SignInRecord]] = {}
        self._lock = threading.Lock()

    def token(self, plaintext: str, now: datetime) -> TokenRecord | None:
        """The token, which may have ended; None where it is wrong. The use of a good one is
        noted.
        """
        record, fresh = self._found(plaintext, find_token)
        if not isinstance(record, TokenRecord):
            return None
        if fresh and record.ended(now) is None and record.unnoted(now):
            # Looked up first and noted as used after: a flood of wrong tokens must not queue for
            # the write lock.
            with transaction(self._engine) as session:
                note_use(session, record, now=now)
        return record

    def sign_in(self, plaintext: str, now: datetime) -> SignInRecord | None:
        """The sign-in; None where it is wrong or has ended."""
        if not plaintext.startswith(PREFIX):
            return None
        record, _ = self._found(plaintext, find_sign_in)
        return record if isinstance(record, SignInRecord) and not record.ended(now) else None

    def knows(self, plaintext: str) -> bool:
        """Whether it was looked up a moment ago and is somebody's."""
        with self._lock:
            return _digest(plaintext) in self._known

    def forget(self, plaintext: str) -> None:
        """Look it up anew at its next use."""
        with self._lock:
            self._known.pop(_digest(plaintext), None)

    def _found(
        self, plaintext: str, find: Callable[[Session, str], TokenRecord | SignInRecord | None]
    ) -> tuple[TokenRecord | SignInRecord | None, bool]:
        """What it stands for, and whether the store was asked."""
        digest = _digest(plaintext)
        with self._lock:
            remembered = self._known.get(digest)
        if remembered is not None and self._tick() - remembered[0] < self._keep_s:
            return remembered[1], False
        with reading(self._engine) as session:
            record = find(session, plaintext)
        with self._lock:
            if record is None:
                self._known.pop(digest, None)
            else:
                if len(self._known) >= LIMIT:
                    self._known.clear()
                self._known[digest] = (self._tick(), record)
        return record, True


def _digest(plaintext: str) -> bytes:
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()
