"""`knowgate gateway`: a cascade behind an OpenAI-compatible API."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from knowgate._records.records import Fingerprint
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.commands.options import Cascade
from services.errors import InputInvalid
from services.gateway.app import MOST_IN_FLIGHT
from services.gateway.control import control_url, declared_cascade
from services.gateway.run import run_gateway
from services.gateway.tiers import tier_backends
from services.listening import listening
from services.logs import start_logging
from services.settings import is_loopback, read_settings, traces_wanted
from services.telemetry.spans import tracing

T = TypeVar("T")


app = typer.Typer()


@app.command()
def gateway(
    cascade: Cascade,
    control: Annotated[
        str | None, typer.Option(help="The control plane's address; by default that of KNOWGATE_HOST and _PORT.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; another than loopback needs KNOWGATE_GATEWAY_KEY.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8421,
    key_file: Annotated[
        list[str] | None, typer.Option(help="TIER=FILE with the API key of a tier's endpoint; may be repeated.")
    ] = None,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(help="TIER=FILE with the JSON that says what an engine's hidden states are; may be repeated."),
    ] = None,
    states_folder: Annotated[Path | None, typer.Option(help="Where vLLM writes hidden states, as seen here.")] = None,
    most_in_flight: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests that are answered at once; more are sent away with 429.")
    ] = MOST_IN_FLIGHT,
) -> None:
    """Serve POST /v1/chat/completions from a live cascade until interrupted; decisions are spooled
    and shipped.

    The model to ask for is the cascade's name. Which tier answered and why stands in headers and
    under `knowgate`.
    """
    settings = read_settings()
    start_logging(settings.log_level)
    url = control_url(control, settings)
    keys = _files("--key-file", key_file, lambda content: content.decode().strip())
    said = _files("--fingerprint", fingerprint, lambda content: codec.decode(Fingerprint, codec.parse(content)))
    _require_key(host, settings.gateway_key)
    with listening(host, port, host_name="--host", port_name="--port") as bound:
        spec = declared_cascade(url, cascade, settings.token)
        backends = tier_backends(spec, keys=keys, fingerprints=said, states_folder=states_folder)

        def serves() -> None:
            typer.echo(f"cascade {cascade} is model {cascade!r} at http://{host}:{port}/v1", err=True)

        with tracing("gateway", wanted=traces_wanted()):
            run_gateway(settings, url, spec, backends, bound, serves=serves, most_in_flight=most_in_flight)


def _require_key(host: str, key: str | None) -> None:
    if key is None and not is_loopback(host):
        raise InputInvalid(f"--host is {host}: set KNOWGATE_GATEWAY_KEY, or listen on 127.0.0.1: anyone could ask")


def _files(option: str, given: Sequence[str] | None, read: Callable[[bytes], T]) -> dict[str, T]:
    """What the named files hold, by tier. Raises InputInvalid."""
    by_tier: dict[str, T] = {}
    for text in given or ():
        tier, _, path = text.partition("=")
        if not tier or not path:
            raise InputInvalid(f"{option} is {text!r}: write TIER=FILE")
        if tier in by_tier:
            raise InputInvalid(f"{option} is {text!r}: tier {tier} has a file already; give one per tier")
        try:
            by_tier[tier] = read(Path(path).read_bytes())
        except (OSError, UnicodeDecodeError, RecordInvalid) as error:
            raise InputInvalid(f"{option} is {text!r}: the file cannot be used ({error})") from None
    return by_tier
