"""Whether a token is good, without a query per request.

A token's hash is looked up at most every few seconds and remembered in between, so a revoked token
works on for at most that long. Only digests are kept in memory.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from store.engine import reading, transaction
from store.tokens import TokenRecord, verify_token

KEEP_S = 10.0
LIMIT = 1024  # remembered tokens; a flood of wrong ones must not fill the memory


class TokenGate:
    """Verifies plaintext tokens against the store."""

    def __init__(self, engine: Engine, *, keep_s: float = KEEP_S, tick: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._keep_s = keep_s
        self._tick = tick
        self._known: dict[bytes, tuple[float, TokenRecord]] = {}
        self._lock = threading.Lock()

    def verify(self, plaintext: str, now: datetime) -> TokenRecord | None:
        """The token's record, or None where it is wrong or revoked."""
        digest = hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            remembered = self._known.get(digest)
        if remembered is not None and self._tick() - remembered[0] < self._keep_s:
            return remembered[1]
        # Looked up first and noted as used after: a flood of wrong tokens must not queue for the
        # write lock.
        with reading(self._engine) as session:
            record = verify_token(session, plaintext)
        if record is not None:
            with transaction(self._engine) as session:
                record = verify_token(session, plaintext, now=now)
        with self._lock:
            if record is None:
                self._known.pop(digest, None)
            else:
                if len(self._known) >= LIMIT:
                    self._known.clear()
                self._known[digest] = (self._tick(), record)
        return record
