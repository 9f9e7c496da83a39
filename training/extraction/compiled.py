"""Blocks compiled by `torch.compile`, for runs long enough to pay for it; off unless asked for.

Decisions:
- What is compiled is the block's own forward, once per class and for all sizes (`dynamic`): every
  block of a model and every batch share one graph, so the price is that of one block. Hooks stay
  outside of it.
- The topmost wanted block runs as it is: it is narrowed to one token by hooks inside it (see
  narrowing).
- The instance's forward is put back after each pass, as packing does it: whoever else holds the
  network sees it unchanged.
"""

import types
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from training.extraction.packed import replaced

_graphs: dict[type[nn.Module], Callable[..., Any]] = {}


def compiled(blocks: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """While open, these blocks run compiled; the first pass compiles."""
    return replaced(tuple(blocks), lambda block: types.MethodType(_graph_of(type(block)), block))


def _graph_of(kind: type[nn.Module]) -> Callable[..., Any]:
    if kind not in _graphs:
        _graphs[kind] = torch.compile(kind.forward, dynamic=True)
    return _graphs[kind]
