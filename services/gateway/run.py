"""A gateway's life: spool, shipper and live cascade around one server, closed in the order in which they depend.

On SIGTERM the server finishes what is under way, explorations end, and the shipper drains; what it cannot ship in time
stays in the spool and is shipped by the next start.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from knowgate.backends import Backend, encoders_of
from knowgate.cascade import Cascade
from knowgate.client import Client
from knowgate.shipper import Shipper
from knowgate.spec import CascadeSpec
from knowgate.spool import Spool
from services.gateway.app import Serving, create_gateway
from services.settings import Settings, hash_key


def run_gateway(
    settings: Settings, url: str, spec: CascadeSpec, backends: Sequence[Backend], bound: socket.socket
) -> None:
    """Serves until interrupted."""
    with live(settings, url, spec, backends) as serving:
        config = uvicorn.Config(
            create_gateway(serving),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=20,
        )
        uvicorn.Server(config).run(sockets=[bound])


@contextmanager
def live(settings: Settings, url: str, spec: CascadeSpec, backends: Sequence[Backend]) -> Iterator[Serving]:
    """The cascade as it follows its control plane, with a spool of its own under the data folder."""
    folder = settings.data_dir / "gateway" / spec.name
    client = Client(url, settings.token)
    with (
        Spool(folder / "spool") as spool,
        Shipper(spool, client) as shipper,
        Cascade.watch(
            url,
            cascade=spec.name,
            token=settings.token,
            cache=folder / "bundles",
            runtime=f"gateway-{socket.gethostname()}",
            hash_key=hash_key(settings),
            privacy=spec.privacy,
            vector_rate=spec.vector_rate,
            models=[tier.model for tier in spec.tiers],
            spool=spool,
            backends=backends,
            encoders=encoders_of(spec),
        ) as cascade,
    ):
        yield Serving(
            cascade=cascade,
            tiers=tuple(tier.name for tier in spec.tiers),
            backends=backends,
            shipper=shipper,
            max_body_bytes=settings.max_body_bytes,
            key=settings.gateway_key,
        )
