"""Where a model in this process keeps its blocks, and what passes between them; found by structure,
not by name.

Layer 0 is what enters the first block (the embedding output), layer n what leaves block n, before
the final norm.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from knowgate.errors import RecordInvalid


class Enough(BaseException):
    """Leaves a forward pass once all that is wanted was seen; no model's own `except Exception` may
    swallow it.
    """


def require_layer(network: Any, layer: int) -> None:
    """Raises RecordInvalid for a layer that the model does not have, or whose place is
    not certain.
    """
    last = len(_blocks(network))
    if not 0 <= layer <= last:
        raise RecordInvalid("fingerprint.layer", layer, f"the loaded model has layers 0 to {last}")


@contextmanager
def watching(network: Any, layer: int, see: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Calls `see` with the layer's states [batch, tokens, d] of each pass, as long as the block
    lasts.
    """
    blocks = _blocks(network)

    def enters(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        see(given[0] if given else named["hidden_states"])

    def leaves(_: Any, __: Any, output: Any) -> None:
        see(output[0] if isinstance(output, (tuple, list)) else output)

    if layer == 0:
        handle = blocks[0].register_forward_pre_hook(enters, with_kwargs=True)
    else:
        handle = blocks[layer - 1].register_forward_hook(leaves)
    try:
        yield
    finally:
        handle.remove()


def _blocks(network: Any) -> Any:
    """The one outermost list of as many modules as the configuration counts layers."""
    wanted = network.config.get_text_config(decoder=True).num_hidden_layers
    found: dict[str, Any] = {}
    for name, module in network.named_modules():
        nested = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted and not nested:
            found[name] = module
    if len(found) != 1:
        raise RecordInvalid("network", type(network).__name__, f"{len(found)} lists of {wanted} blocks: give no layer")
    return next(iter(found.values()))
