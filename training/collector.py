"""How often Python looks for garbage."""

import gc

# Libraries are half a million objects that stay, and records come by the thousand. To look them
# over as often as Python does by itself is a sixth of the time in which a training loads, and a
# twentieth of the demo.
_NEW_BEFORE_A_COLLECTION = 50_000


def collect_rarely() -> None:
    """Let seventy times as much be new before the garbage collector looks."""
    gc.set_threshold(_NEW_BEFORE_A_COLLECTION)
