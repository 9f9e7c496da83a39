"""Where heavy work is done: in this process, or on a Ray cluster. One option chooses, and what is
computed is the same.

Nothing outside this package knows of Ray, and nothing in it imports Ray before a cluster is asked
for.
"""

from training.engines.choice import EngineKind, RaySettings

__all__ = ["EngineKind", "RaySettings"]
