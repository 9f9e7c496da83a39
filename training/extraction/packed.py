"""On a CPU in float32, matrix products run on weights laid out once for the processor.

Decisions:
- PyTorch hands such a product to the library it was built with, which lays the weights out anew at
  each call and is slow on some processors; oneDNN takes weights laid out beforehand. Measured on
  AVX-512 at widths of 512 to 1408: 1.2 to 2 times the rate (docs/extraction.md). The states differ
  by rounding alone.
- The copies cost as much memory as the weights, so they are made only where they fit a share of
  this machine's.
- A module is found by being exactly `nn.Linear`: a subclass or a quantised one computes something
  of its own.
- The modules' own `forward` is put back after each pass: whoever else holds the network sees it
  unchanged.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeGuard, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
_SHARE_OF_MEMORY = 0.2
_TYPICAL_ROWS = 2048  # the layout is chosen for about so many tokens at a time; any number is right

# by module, so that two readers of one network share the copies
_packed_weights: WeakKeyDictionary[nn.Linear, Tensor] = WeakKeyDictionary()


def packable(blocks: Iterable[nn.Module], *, most_bytes: float | None = None) -> tuple[nn.Linear, ...]:
    """The linear modules of these blocks that can be packed here; () where oneDNN is missing or the
    copies would take more than `most_bytes` (None = a fifth of this machine's memory).
    """
    if not torch._C._has_mkldnn:
        return ()
    modules = [module for block in blocks for module in block.modules() if _can_be_packed(module)]
    most = (
        _SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if most_bytes is None
        else most_bytes
    )
    return tuple(modules) if sum(module.weight.nbytes for module in modules) <= most else ()


def packed(modules: Iterable[nn.Linear]) -> AbstractContextManager[None]:
    """While open, these modules compute with packed weights."""
    return replaced(tuple(modules), _product)


@contextmanager
def replaced(modules: Sequence[Module], forward_of: Callable[[Module], object]) -> Iterator[None]:
    """While open, each module runs the forward that is made for it."""
    try:
        for module in modules:
            # set on the instance, past nn.Module's bookkeeping: `del` brings the class's own
            # forward back
            object.__setattr__(module, "forward", forward_of(module))
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)


def _can_be_packed(module: nn.Module) -> TypeGuard[nn.Linear]:
    # someone who has put a forward of their own on the instance means it
    if type(module) is not nn.Linear or "forward" in module.__dict__:
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _product(module: nn.Linear) -> object:
    weight = _packed_weights.get(module)
    if weight is None:
        weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), _TYPICAL_ROWS)
        _packed_weights[module] = weight
    bias = None if module.bias is None else module.bias.detach()

    def forward(x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product

    return forward
