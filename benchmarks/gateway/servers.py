"""Who is compared, each a process of its own before one upstream: the gateway with its control
plane, LiteLLM's proxy, and a proxy of a few lines, with and without a log.
"""

import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psutil

from benchmarks.gateway.load import KEY
from benchmarks.gateway.upstream import LARGE, SMALL
from knowgate import Assignment, BundleDocument, Mode, Policy, PolicyKind, write_bundle
from knowgate._wire import codec
from services.database import database
from services.declaration.cascade_file import parse_cascade
from services.settings import read_settings
from store.engine import transaction
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus
from tests.client_libraries import clients_python
from tests.servers import free_port, running, wait_until_answering

CASCADE = "bench"
THRESHOLD = 0.8  # between the upstream's two answers
STARTS_WITHIN_S = 120
COMMAND = (sys.executable, "-c", "from services.command_line import main; main()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One way to the upstream."""

    name: str
    url: str  # its API's root
    process: psutil.Process | None = None  # None = the upstream itself

    def cpu_s(self) -> float:
        """Processor seconds of it and of its children, so far."""
        times = [one.cpu_times() for one in self._family()]
        return float(sum(one.user + one.system for one in times))

    def resident_mb(self) -> float:
        """What it holds of the machine's memory."""
        return sum(float(one.memory_info().rss) for one in self._family()) / 2**20

    def _family(self) -> list[psutil.Process]:
        return [] if self.process is None else [self.process, *self.process.children(recursive=True)]


@contextmanager
def targets(folder: Path, *, litellm: bool) -> Iterator[list[Target]]:
    """All of them at work, the upstream itself first, and then the gateway. Raises
    LibrariesMissing.
    """
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_server(folder))
        ways = [Target(name="direct", url=upstream), stack.enter_context(gateway(folder / "gateway", upstream))]
        ways += [stack.enter_context(_litellm(folder, upstream))] if litellm else []
        for name, log in (("plain", {}), ("plain_logged", {"LOG": str(folder / "plain.jsonl")})):
            command = (sys.executable, "-m", "uvicorn", "benchmarks.gateway.plain:app", "--no-access-log")
            said = {"UPSTREAM": upstream.removesuffix("/v1")} | log
            ways.append(stack.enter_context(_target(folder, name, (*command, "--log-level", "warning"), said, "/")))
        yield ways


@contextmanager
def upstream_server(folder: Path) -> Iterator[str]:
    """The upstream; yields its API's root."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.gateway.upstream", str(port))
    with running(command, environment={}, log=folder / "upstream.log") as process:
        while not any(one.laddr.port == port for one in psutil.Process(process.pid).net_connections("tcp")):
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def gateway(folder: Path, upstream: str, *, mode: Mode = Mode.ACTIVE) -> Iterator[Target]:
    """`knowgate gateway` and `knowgate serve` in a folder of their own, of a cascade whose tiers
    are both the upstream.
    """
    folder.mkdir()
    port = free_port()
    said = {"KNOWGATE_DATA_DIR": str(folder), "KNOWGATE_AUTH": "off", "KNOWGATE_GATEWAY_KEY": KEY}
    said |= {"KNOWGATE_HASH_KEY": secrets.token_hex(16)}
    _declare(folder, upstream, mode)
    with ExitStack() as stack:
        serve = stack.enter_context(
            running((*COMMAND, "serve"), environment=said | {"KNOWGATE_PORT": str(port)}, log=folder / "control.log")
        )
        control = f"http://127.0.0.1:{port}"
        wait_until_answering(f"{control}/healthz", serve, within_s=STARTS_WITHIN_S)
        command = (*COMMAND, "gateway", "--cascade", CASCADE, "--control", control)
        yield stack.enter_context(_target(folder, "gateway", command, said, "/healthz"))


def wait_until_shipped(target: Target, decisions: int) -> None:
    """Waits for the control plane to have what the gateway decided, so that it does not take the
    machine from the next one.
    """
    root, deadline = target.url.removesuffix("/v1"), time.monotonic() + STARTS_WITHIN_S
    while httpx2.get(f"{root}/healthz").json()["shipped"] < decisions:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{target.name} has not shipped {decisions} decisions")
        time.sleep(0.05)


@contextmanager
def _litellm(folder: Path, upstream: str) -> Iterator[Target]:
    """LiteLLM's proxy as its pages on production say: one worker, no debugging, only errors in the
    log.
    """
    config = folder / "litellm.json"  # JSON is YAML
    model = {"model": f"openai/{LARGE}", "api_base": upstream, "api_key": "none"}
    models = [{"model_name": CASCADE, "litellm_params": model}]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    said = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "PYTHONPATH": "", "NO_PROXY": "127.0.0.1"}
    program = clients_python().with_name("litellm")
    command = (str(program), "--config", str(config), "--num_workers", "1", "--telemetry", "False")
    with _target(folder, "litellm", command, said, "/health/liveliness") as target:
        yield target


@contextmanager
def _target(
    folder: Path, name: str, command: tuple[str, ...], environment: Mapping[str, str], alive: str
) -> Iterator[Target]:
    port = free_port()
    command = (*command, "--host", "127.0.0.1", "--port", str(port))
    with running(command, environment=environment, log=folder / f"{name}.log") as process:
        wait_until_answering(f"http://127.0.0.1:{port}{alive}", process, within_s=STARTS_WITHIN_S)
        yield Target(name=name, url=f"http://127.0.0.1:{port}/v1", process=psutil.Process(process.pid))


def _declare(folder: Path, url: str, mode: Mode) -> None:
    """The cascade, with a bundle in force that keeps what is surer than THRESHOLD."""
    now = datetime.now(UTC)
    tiers = "".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "{model}"\nparameters = 1e9\nbackend = "openai"\nendpoint = "{url}"\n'
        for name, model in (("small", SMALL), ("large", LARGE))
    )
    spec = parse_cascade(f'name = "{CASCADE}"\nexploration_rate = 0.01\n{tiers}')
    document = BundleDocument(
        cascade=CASCADE,
        tiers=(None,),
        models=(SMALL, LARGE),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": THRESHOLD},)),
        code_version="benchmark",
        created_at=now,
        rows={},
    )
    bundle = write_bundle(document, (None,))
    assignment = Assignment(
        cascade=CASCADE,
        generation=1,
        mode=mode,
        champion=bundle.id,
        exploration_rate=spec.exploration_rate if mode is Mode.ACTIVE else spec.observe.rate,
        issued_at=now,
        valid_until=now + timedelta(days=1),
    )
    with database(read_settings({"KNOWGATE_DATA_DIR": str(folder)})) as engine, transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=now)
        content = codec.canonical(bundle.document)
        bundles.add_bundle(session, bundle.id, CASCADE, content, bundle.content, BundleStatus.PROMOTED, now)
        assignments.swap_assignment(session, assignment, expected_generation=None, now=now)
