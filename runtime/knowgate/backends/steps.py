"""What takes time is a generator of steps, written once and taken twice: with and without an event
loop.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

Step = TypeVar("Step")
T = TypeVar("T")


def taken(steps: Generator[Step, Any, T], act: Callable[[Step], Any]) -> T:
    """What `steps` return, each answered with what `act` makes of it."""
    outcome: Any = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        outcome = act(step)


async def taken_async(steps: Generator[Step, Any, T], act: Callable[[Step], Awaitable[Any]]) -> T:
    """`taken`, on the running event loop."""
    outcome: Any = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        outcome = await act(step)
