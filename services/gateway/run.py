"""A gateway's life: spool, shipper and live cascade around one server, closed in the order in which
they depend.

On SIGTERM or SIGINT the server finishes what is under way, explorations end or are given up, and
the shipper drains; what it cannot ship in time stays in the spool and is shipped by the next start.
The process then ends with 0: it did what was asked. All that takes some 35 s at most. A further
signal does not cut it short: decisions that were answered would be lost.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType

import uvicorn

from knowgate._serving.cascade import Cascade
from knowgate._shipping.client import Client
from knowgate._shipping.shipper import Shipper
from knowgate._shipping.spool import Spool
from knowgate.backends import Backend, encoders_of
from knowgate.backends.factory import early_of, patience_of
from knowgate.spec import CascadeSpec
from services.errors import SettingInvalid
from services.gateway.app import MOST_IN_FLIGHT, Serving, create_gateway
from services.gateway.streaming import HEAD_WITHIN_S
from services.privacy import hash_key
from services.serving import server_config
from services.settings import Settings


def run_gateway(
    settings: Settings,
    url: str,
    spec: CascadeSpec,
    backends: Sequence[Backend],
    bound: socket.socket,
    *,
    serves: Callable[[], None],
    most_in_flight: int = MOST_IN_FLIGHT,
) -> None:
    """Serves until interrupted; calls `serves` once nothing but the server is left to start."""
    with ended_by_signals(), live(settings, url, spec, backends, most_in_flight=most_in_flight) as serving:
        server = uvicorn.Server(
            server_config(create_gateway(serving), address_connections=settings.address_connections)
        )
        serves()
        server.run(sockets=[bound])


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """The first SIGTERM or SIGINT leaves the block as an exit with 0, so that what it holds is
    closed.

    While its server runs, uvicorn takes signals itself; once it has ended it raises them anew for
    whoever handled them before. The default handler would end the process there, with decisions
    that were answered and are not spooled.
    """
    asked = False

    def leave(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise SystemExit(0)

    if threading.current_thread() is not threading.main_thread():  # no other thread may handle signals
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def live(
    settings: Settings,
    url: str,
    spec: CascadeSpec,
    backends: Sequence[Backend],
    *,
    most_in_flight: int = MOST_IN_FLIGHT,
    head_within_s: float = HEAD_WITHIN_S,
) -> Iterator[Serving]:
    """The cascade as it follows its control plane, with a spool of its own under the data folder.

    Raises SettingInvalid where that folder cannot be used.
    """
    folder = settings.data_dir / "gateway" / spec.name
    client = Client(url, settings.token)
    with _faults_of_the_data_folder(settings):
        key = hash_key(settings)
        for name in ("spool", "bundles"):
            _require_writable(folder / name)
        opened = Spool(folder / "spool")
    with (
        opened as spool,
        Shipper(spool, client) as shipper,
        Cascade.watch(
            url,
            cascade=spec.name,
            token=settings.token,
            cache=folder / "bundles",
            runtime=f"gateway-{socket.gethostname()}",
            hash_key=key,
            privacy=spec.privacy,
            vector_rate=spec.vector_rate,
            models=[tier.named_model for tier in spec.tiers],
            spool=spool,
            backends=backends,
            encoders=encoders_of(spec),
            early=early_of(spec),
            patience=patience_of(spec),
        ) as cascade,
        _closing(cascade, backends),
    ):
        yield Serving(
            cascade=cascade,
            spec=spec,
            backends=backends,
            shipper=shipper,
            max_body_bytes=settings.max_body_bytes,
            key=settings.gateway_key,
            most_in_flight=most_in_flight,
            head_within_s=head_within_s,
        )


@contextmanager
def _closing(cascade: Cascade, backends: Sequence[Backend]) -> Iterator[None]:
    """Gives up, at its end, what a server that ended in order has closed already: nothing waits for
    a tier then.
    """
    try:
        yield
    finally:
        cascade.close(within_s=0.0)
        for backend in backends:
            close = getattr(backend, "close", None)
            if close is not None:
                close()


@contextmanager
def _faults_of_the_data_folder(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or settings.data_dir
        cure = f"a folder is expected that this user may write in, and {where} cannot be used ({error.strerror})"
        cure = f"{cure}; free that path, or name another folder"
        raise SettingInvalid(("KNOWGATE_DATA_DIR", str(settings.data_dir), cure)) from error


def _require_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass
