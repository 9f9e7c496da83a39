"""The pieces that a pass works on, small enough to stay in a processor's cache from the first
number to the last.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from training.probes.probe_passes import RowBlock
from training.rows.row_blocks import cut

CACHE_VALUES = 1 << 20  # float32 numbers of a piece: 4 MB
LEAST_ROWS = 64  # of a piece, however wide: products of fewer rows are slow


def pieces_of(block: RowBlock) -> list[RowBlock]:
    """The block in pieces that a processor's cache holds; whole on other devices."""
    n, dimension = block.x.shape
    rows = max(LEAST_ROWS, CACHE_VALUES // dimension) if block.x.device.type == "cpu" else n
    pieces = [slice(start, stop) for start, stop in cut(0, n, rows)]
    return [RowBlock(block.layer, block.start + at.start, block.x[at], block.y[at], block.weight[at]) for at in pieces]


def centred(pieces: Sequence[RowBlock], centre: Tensor) -> Iterator[tuple[RowBlock, Tensor]]:
    """Each piece with its features less the centre [d], float32, in a buffer that the next piece
    overwrites.
    """
    buffer = torch.empty(pieces[0].x.shape, device=centre.device)
    for piece in pieces:
        yield piece, buffer[: len(piece.y)].copy_(piece.x).sub_(centre)
