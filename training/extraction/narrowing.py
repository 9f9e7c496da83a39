"""The topmost block's feed-forward part works for one token per prompt where only one token is
read.

Attention needs every token, what follows it does not: its output projection and the feed-forward
part treat each token by itself. A hook hands them the wanted token alone, and the residual sum
broadcasts it back, so the state that is read is the same one. Whether that holds for a block is not
assumed from its family but tried on the block itself, in float32, with and without: where it fails
or differs, the block runs in full.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_RELATIVE = 1e-3  # of what the block adds; an output of the wrong tokens is off by as much as it adds
_ROUNDING = 1e-6  # of the state itself

Choose = Callable[[Tensor], Tensor]  # [batch, tokens, any] -> [batch, 1, any]
Call = tuple[tuple[Any, ...], dict[str, Any]]


@contextmanager
def narrowed(block: nn.Module, names: tuple[str, ...], choose: Choose, tokens: int) -> Iterator[None]:
    """While open, the named parts of the block see only the chosen token of each prompt."""

    def narrow(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x = arguments[0]
        return (choose(x), *arguments[1:]) if x.shape[1] == tokens else arguments

    with ExitStack() as stack:
        for name in names:
            stack.callback(block.get_submodule(name).register_forward_pre_hook(narrow).remove)
        yield


def narrowable(block: nn.Module, call: Call) -> tuple[str, ...]:
    """The parts of a block that may see one token per prompt; () where that cannot be shown.

    `call` is how the block was called for at least 3 tokens.
    """
    try:
        with torch.inference_mode():
            exact = copy.deepcopy(block).to(torch.float32)
            arguments, named = _float32(call)
            return _tried(exact, arguments, named)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return ()  # a block that cannot be copied or run by itself runs in full


def _tried(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, ...]:
    entered = arguments[0] if arguments else named["hidden_states"]
    tokens = entered.shape[1]
    names, whole = _candidates(block, arguments, named, tokens)
    for at in (tokens - 1, tokens // 2):

        def choose(x: Tensor, at: int = at) -> Tensor:
            return x[:, at : at + 1]

        with narrowed(block, names, choose, tokens):
            narrow = _state(block(*arguments, **named))
        added = (whole - entered)[:, at].abs().max()
        allowed = _RELATIVE * added + _ROUNDING * whole.abs().max()
        if narrow.shape != whole.shape or not bool((narrow - whole)[:, at].abs().max() <= allowed):
            return ()
    return names


def _candidates(
    block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], tokens: int
) -> tuple[tuple[str, ...], Tensor]:
    """The parts called with one tensor of all tokens, from attention's own output projection on;
    and the output.
    """
    calls: list[tuple[str, bool]] = []  # in the order of their ends; whether by one tensor of all tokens

    with ExitStack() as stack:
        for name, module in block.named_modules():
            if name:

                def ended(
                    _: nn.Module, given: tuple[Any, ...], words: dict[str, Any], __: Any, name: str = name
                ) -> None:
                    alone = len(given) == 1 and not words and isinstance(given[0], Tensor)
                    calls.append((name, alone and given[0].ndim == 3 and given[0].shape[1] == tokens))

                stack.callback(module.register_forward_hook(ended, with_kwargs=True).remove)
        whole = _state(block(*arguments, **named))
    mixers = [at for at, (name, alone) in enumerate(calls) if not alone and "." not in name]
    if not mixers:
        return (), whole
    mixer = mixers[0]
    inside = [
        name
        for name, alone in calls[:mixer]
        if name.startswith(f"{calls[mixer][0]}.") and alone and _matrices(block.get_submodule(name)) == 1
    ]
    after = [name for name, alone in calls[mixer + 1 :] if alone and "." not in name]
    heavy = [name for name in after if _matrices(block.get_submodule(name))]
    return (*inside[-1:], *heavy), whole


def _matrices(module: nn.Module) -> int:
    return sum(weight.ndim >= 2 for weight in module.parameters())


def _state(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return state


def _float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(_float32(one) for one in value)
    if isinstance(value, dict):
        return {name: _float32(one) for name, one in value.items()}
    return value
