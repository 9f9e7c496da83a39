"""Which rows the leaves of batches speak of, in eight bytes for each: so the rows of a table are
held against millions of them without a look at the ledger for every row.

What stands for a row is a hash with a key that is drawn anew for every verification: nobody can
make two rows that share one.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

_BYTES = 8


class NamedRows:
    """Collects the names of rows by their table, then says which of others are among them."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._added: dict[str, array[int]] = {}
        self._sorted: dict[str, npt.NDArray[np.uint64]] = {}

    def add(self, kind: str, subjects: Iterable[str]) -> None:
        self._added.setdefault(kind, array("Q")).frombytes(self._hashed(subjects))
        self._sorted.pop(kind, None)

    def among(self, kind: str, subjects: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of these are among them [n]."""
        known = self._of(kind)
        asked = np.frombuffer(self._hashed(subjects), dtype=np.uint64)
        if not len(known):
            return np.zeros(len(asked), dtype=np.bool_)
        at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        there: npt.NDArray[np.bool_] = known[at] == asked
        return there

    def repeated(self, kind: str) -> int:
        """How many were named more than once."""
        known = self._of(kind)
        return int(np.count_nonzero(known[1:] == known[:-1]))

    def _of(self, kind: str) -> npt.NDArray[np.uint64]:
        if kind not in self._sorted:
            self._sorted[kind] = np.sort(np.array(self._added.get(kind, array("Q")), dtype=np.uint64))
        return self._sorted[kind]

    def _hashed(self, subjects: Iterable[str]) -> bytes:
        key = self._key
        return b"".join(
            hashlib.blake2b(subject.encode(errors="surrogatepass"), digest_size=_BYTES, key=key).digest()
            for subject in subjects
        )


class RowsRead:
    """What the leaves say of rows that have one together."""

    def __init__(self) -> None:
        self.of_batches = NamedRows()
        self.own = NamedRows()  # rows of the same tables that leaves of their own speak of
        self.emptied: set[tuple[str, str]] = set()

    def looked_at_singly(self, kind: str, subjects: Sequence[str]) -> list[str]:
        """Those of these rows that the leaf of their batch does not say all of."""
        sealed, own = self.of_batches.among(kind, subjects), self.own.among(kind, subjects)
        return [
            subject
            for subject, plain in zip(subjects, sealed & ~own, strict=True)
            if not plain or (kind, subject) in self.emptied
        ]
