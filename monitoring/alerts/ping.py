"""A word that all is well, to an address that raises the alarm when such words stay away."""

import asyncio
from collections.abc import Sequence

from knowgate._wire.networks import PRIVATE
from monitoring.alerts.asking import ask
from monitoring.alerts.deliveries import TIMEOUT_S, checked_client


def ping(url: str, *, networks: Sequence[str] = PRIVATE, timeout_s: float = TIMEOUT_S) -> None:
    """Fetch the address. Raises NotReceived unless the answer is 2xx within its time."""
    asyncio.run(_ping(url, networks, timeout_s))


async def _ping(url: str, networks: Sequence[str], timeout_s: float) -> None:
    async with checked_client(networks, timeout_s) as client:
        await ask(client, "GET", url, timeout_s=timeout_s, headers={"User-Agent": "knowgate"})
