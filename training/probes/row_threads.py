"""Threads that share the rows of a block: each works on its own pieces from the first number to the
last.

Decisions:
- Torch splits every operation among its threads. The products of a few weights with many rows gain
  next to nothing from that, and a piece that one core has centred and another multiplies travels
  between them, which can take longer than the product. So rows are shared, and each operation stays
  on one core.
- Which thread takes which piece depends on nothing but their numbers, and the threads' sums are
  added in their order: a fit gives the same probe every time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

from training.probes.probe_passes import RowBlock

Sums = tuple[Tensor, ...]


class RowThreads:
    """As many threads as torch has, or one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, initializer=_keep_to_one_core) if count > 1 else None
        if self._pool is not None:
            # A thread that sets its own number also sets what later threads begin with, so that is
            # set back once all have begun; each waits for the others, or one might do the work of
            # two.
            begun = Barrier(count)
            list(self._pool.map(lambda _: begun.wait(), range(count)))
            torch.set_num_threads(count)

    def sums(self, pieces: Sequence[RowBlock], of: Callable[[Sequence[RowBlock]], Sums]) -> Sums:
        """What `of` finds in each thread's pieces, added up."""
        shares = [pieces[at :: self._count] for at in range(min(self._count, len(pieces)))]
        if self._pool is None or len(shares) == 1:
            return of(pieces)
        first, *others = self._pool.map(of, shares)
        return tuple(sum(parts, start=own) for own, *parts in zip(first, *others, strict=True))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _keep_to_one_core() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # at the first question a thread takes over the process's number: let it be this one
