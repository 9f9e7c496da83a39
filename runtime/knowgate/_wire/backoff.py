"""How long to wait before asking again: exponential in the failures, bounded, and jittered.

Without the jitter a thousand runtimes that lost their control plane together would come back
together.
"""

from random import Random


def next_delay(
    *, base_s: float, failures: int, bound_s: float, jitter: float = 0.2, random: Random | None = None
) -> float:
    """Seconds until the next try: base · 2^failures, at most `bound_s`, then off by up to `jitter`
    either way.

    >>> [next_delay(base_s=30, failures=n, bound_s=300, jitter=0) for n in range(5)]
    [30.0, 60.0, 120.0, 240.0, 300.0]
    """
    # 2^60 seconds are past any bound; a larger power would overflow after a long outage.
    delay = min(float(bound_s), base_s * 2.0 ** min(failures, 60))
    drawn = (random or Random()).uniform(-jitter, jitter)
    return delay * (1.0 + drawn)
