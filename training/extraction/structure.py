"""Where a model keeps its decoder layers, found through its structure and never through its name.

A decoder (or a BERT-like encoder) is a `ModuleList` of as many equal blocks as the configuration
counts hidden layers. That holds for every family of causal models in transformers, new ones too.
Where it holds for no list or for several, a wrong guess would give plausible vectors of the wrong
layer, so that is an error and not a guess.

A pass that needs no layer above the topmost wanted one ends there, by an exception that leaves the
forward pass: later blocks, final norm and output head never run, and the model is the same object
before, during and after.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch import Tensor, nn

from training.errors import ModelStructureUnknown


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The list of decoder blocks of a causal model, first block first.

    Raises ModelStructureUnknown where no list or more than one fits.
    """
    return _decoder(model)[1]


def final_norm(model: nn.Module) -> nn.Module:
    """The norm between the last block and the output head.

    It is the one norm beside the list of blocks; where there are several, the one that follows it.
    Raises ModelStructureUnknown where that leaves none or more than one.
    """
    parent, layers = _decoder(model)
    children = list(parent.children())
    at = next(index for index, child in enumerate(children) if child is layers)
    norms = [child for child in children if "norm" in type(child).__name__.lower()]
    after = [child for child in children[at + 1 :] if child in norms]
    found = after if len(after) == 1 else norms
    if len(found) != 1:
        raise ModelStructureUnknown(
            f"{type(model).__name__} has {len(found)} norms beside its decoder layers, one is expected: "
            "leave normed out (on the command line --normed)"
        )
    return found[0]


class TopReached(BaseException):
    """Leaves a forward pass once all that is wanted was seen; no model's own `except Exception` may
    swallow it.
    """


@contextmanager
def watched(
    model: nn.Module, layers: tuple[int, ...], see: Callable[[int, Tensor], None], *, stop: bool = False
) -> Iterator[None]:
    """Call `see(layer, hidden [batch, tokens, d])` for each chosen layer while the model runs.

    Layer 0 is what enters the first block (the embedding output), layer i what leaves block i,
    before any final norm. With `stop` the pass ends after the topmost of them, and so does the
    block under `with`.
    """
    blocks = decoder_layers(model)
    top = max(layers) if stop else None

    def seen(layer: int, hidden: Tensor) -> None:
        see(layer, hidden)
        if layer == top:
            raise TopReached

    with ExitStack() as stack, suppress(TopReached):
        for layer in layers:
            if layer == 0:
                handle = blocks[0].register_forward_pre_hook(
                    lambda _, arguments, named: seen(0, _entering(arguments, named)), with_kwargs=True
                )
            else:
                handle = blocks[layer - 1].register_forward_hook(
                    lambda _, __, output, layer=layer: seen(layer, _leaving(output))
                )
            stack.callback(handle.remove)
        yield


def _decoder(model: nn.Module) -> tuple[nn.Module, nn.ModuleList]:
    wanted = getattr(_text_config(model), "num_hidden_layers", None)
    if wanted is None:
        raise ModelStructureUnknown(
            f"the configuration of {type(model).__name__} counts no hidden layers: use a causal language model"
        )
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) == wanted and not inside and _are_blocks(module):
            found[name] = module
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise ModelStructureUnknown(
            f"{type(model).__name__} should hold one list of {wanted} decoder layers, found: {names}. "
            "Hidden states are read only where the layers are found for certain; serve this model with p_t alone"
        )
    name, layers = next(iter(found.items()))
    return model.get_submodule(name.rpartition(".")[0]), layers


def _text_config(model: nn.Module) -> Any:
    config: Any = getattr(model, "config", None)
    reader = getattr(config, "get_text_config", None)
    return reader(decoder=True) if reader is not None else config


def _are_blocks(layers: nn.ModuleList) -> bool:
    """Blocks are composite: each holds at least two weight matrices."""
    return all(sum(weight.ndim >= 2 for weight in block.parameters()) >= 2 for block in layers)


def _entering(arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    hidden = arguments[0] if arguments else named.get("hidden_states")
    if not isinstance(hidden, Tensor):
        raise ModelStructureUnknown(
            f"a decoder layer was called without hidden states (got {type(hidden).__name__}): "
            "leave layer 0 out of the layers to extract"
        )
    return hidden


def _leaving(output: Any) -> Tensor:
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise ModelStructureUnknown(
            f"a decoder layer gave {type(hidden).__name__}, [batch, tokens, d] is expected: "
            "serve this model with p_t alone"
        )
    return hidden
