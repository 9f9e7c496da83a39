"""Where a model in this process keeps its blocks, and what passes between them; found by structure,
not by name.

A decoder (or a BERT-like encoder) is a `ModuleList` of as many equal blocks as the configuration
counts hidden layers. That holds for every family of causal models in transformers, new ones too.
Where it holds for no list or for several, a wrong guess would give plausible vectors of the wrong
layer, so that is an error and not a guess.

Layer 0 is what enters the first block (the embedding output), layer n what leaves block n, before
the final norm. A pass that needs no layer above the topmost wanted one ends there, by an exception
that leaves the forward pass: later blocks, final norm and output head never run, and the model is
the same object before, during and after.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from knowgate.errors import RecordInvalid

ENOUGH = object()


class _Enough(BaseException):
    """Leaves a forward pass once all that is wanted was seen; no model's own `except Exception` may
    swallow it.
    """


def blocks_of(network: Any) -> nn.ModuleList:
    """The list of blocks, first block first. Raises RecordInvalid where no list or more than one
    fits.
    """
    kind, config = type(network).__name__, network.config
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    wanted = getattr(text, "num_hidden_layers", None)
    if wanted is None:
        raise RecordInvalid("network", kind, "its configuration counts no hidden layers: use a causal language model")
    candidates: dict[str, nn.ModuleList] = {}
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in candidates)
        if isinstance(module, nn.ModuleList) and len(module) == wanted and not inside and _are_blocks(module):
            candidates[name] = module
    if len(candidates) != 1:
        names = ", ".join(candidates) or "none"
        raise RecordInvalid(
            "network",
            kind,
            f"it should hold one list of {wanted} blocks, there are: {names}. Hidden states are read only where the "
            "blocks are found for certain; give no layers, and serve this model with p_t alone",
        )
    return next(iter(candidates.values()))


def require_layer(network: Any, layer: int, *, of: str = "the loaded model") -> None:
    """Raises RecordInvalid for a layer that the model does not have, or whose place is
    not certain.
    """
    last = len(blocks_of(network))
    if not 0 <= layer <= last:
        raise RecordInvalid("fingerprint.layer", layer, f"{of} has layers 0 to {last}")


def final_norm(network: Any) -> nn.Module:
    """The norm between the last block and the output head.

    It is the one norm beside the list of blocks; where there are several, the one that follows it.
    Raises RecordInvalid where that leaves none or more than one.
    """
    blocks = blocks_of(network)
    parent = next(module for module in network.modules() if any(child is blocks for child in module.children()))
    children: list[nn.Module] = list(parent.children())
    at = next(index for index, child in enumerate(children) if child is blocks)
    norms = [child for child in children if "norm" in type(child).__name__.lower()]
    after = [child for child in children[at + 1 :] if child in norms]
    candidates = after if len(after) == 1 else norms
    if len(candidates) != 1:
        cure = f"it has {len(candidates)} norms beside its blocks, one is expected: leave normed out (--normed)"
        raise RecordInvalid("network", type(network).__name__, cure)
    return candidates[0]


@contextmanager
def watching(
    network: Any, layers: Sequence[int], see: Callable[[int, Tensor], object], *, stop: bool = False
) -> Iterator[None]:
    """Calls `see(layer, states [batch, tokens, d])` for each of the layers while the model runs.

    Where it returns ENOUGH the pass ends, and so does the block under `with`; with `stop` they end
    after the topmost layer. Raises RecordInvalid.
    """
    blocks = blocks_of(network)
    top = max(layers) if stop else None

    def seen(layer: int, states: Tensor) -> None:
        if see(layer, states) is ENOUGH or layer == top:
            raise _Enough

    with ExitStack() as stack, suppress(_Enough):
        for layer in layers:
            if layer == 0:
                handle = blocks[0].register_forward_pre_hook(
                    lambda _, given, named: seen(0, _entering(given, named)), with_kwargs=True
                )
            else:
                handle = blocks[layer - 1].register_forward_hook(
                    lambda _, __, output, layer=layer: seen(layer, _leaving(output))
                )
            stack.callback(handle.remove)
        yield


def _are_blocks(modules: nn.ModuleList) -> bool:
    """Blocks are composite: each holds at least two weight matrices."""
    return all(sum(weight.ndim >= 2 for weight in block.parameters()) >= 2 for block in modules)


def _entering(given: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    states = given[0] if given else named.get("hidden_states")
    if not isinstance(states, Tensor):
        cure = "leave layer 0 out of the layers to read"
        raise RecordInvalid("network", type(states).__name__, f"a block was called without hidden states: {cure}")
    return states


def _leaving(output: Any) -> Tensor:
    states = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(states, Tensor) or states.ndim != 3:
        cure = "a block is to give [batch, tokens, d]: serve this model with p_t alone"
        raise RecordInvalid("network", type(states).__name__, cure)
    return states
