"""The client libraries that teams use, as they come, against a running gateway whose tiers are a
real llama.cpp server. What comes of it is the table in docs/gateway.md.
"""

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from services.settings import Settings
from store.engine import open_engine, reading
from store.traffic import decisions
from tests.client_libraries import REQUIREMENTS, LibrariesMissing, clients_python
from tests.llama_cpp import MISSING, model_file
from tests.servers import llama_cpp_server
from tests.services.gateway.cast import KEY, declare, running_gateway
from tests.services.gateway.clients.tool_caller import calling_tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("llama_cpp")]

CLIENTS = Path(__file__).parent / "clients"
DOCS = Path(__file__).parents[3] / "docs" / "gateway.md"
USES = (
    *("plain", "temperature 0", "temperature 0.7", "async", "stream"),
    *("tools", "structured output", "responses", "slice and external id"),
)
LIBRARIES = (
    *("openai", "langchain-openai", "litellm", "litellm (proxy)"),
    *("llama-index-llms-openai-like", "instructor", "pydantic-ai-slim"),
)


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the libraries' environment; skips where they cannot be had."""
    try:
        return clients_python()
    except LibrariesMissing as missing:
        pytest.skip(str(missing))


def uses_of(python: Path, name: str, url: str) -> dict[str, str]:
    """What comes of a library's uses."""
    home = {"HOME": tempfile.gettempdir(), "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [python, "-I", CLIENTS / "libraries.py", name, f"{url}/v1", KEY],
        capture_output=True,
        text=True,
        timeout=600,
        env=home,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return results


def table(results: dict[str, dict[str, str]]) -> str:
    """The table of docs/gateway.md."""
    versions = dict(line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    lines = [f"| client | {' | '.join(USES)} |", f"|---|{'---|' * len(USES)}"]
    for name, uses in results.items():
        cells = ["" if use not in uses else "no" if uses[use] else "yes" for use in USES]
        version = versions[name.partition(" ")[0]]
        lines.append(f"| {name} {version} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_every_use_of_every_client_library_works_and_the_page_says_so(
    python: Path, tmp_path: Path, settings: Settings, sqlite_url: str
) -> None:
    if model_file() is None:
        pytest.skip(MISSING)
    settings = settings.model_copy(update={"gateway_key": KEY})
    with ExitStack() as stack:
        engine = open_engine(sqlite_url)
        stack.callback(engine.dispose)
        tiers = stack.enter_context(calling_tools(stack.enter_context(llama_cpp_server(tmp_path))))
        declare(engine, tiers, tiers)
        url, _ = stack.enter_context(running_gateway(settings, engine))
        results = {name: uses_of(python, name, url) for name in LIBRARIES}
        headers = {"Authorization": f"Bearer {KEY}"}
        answers = httpx2.get(f"{url}/metrics", headers=headers).text
    with reading(engine) as session:
        named = decisions.find_decision(session, "trivia", "from-litellm")
    failed = {f"{name}: {use}": what for name, uses in results.items() for use, what in uses.items() if what}
    assert failed == {}
    assert named is not None and named.slice == "cities"
    assert 'knowgate_gateway_answers_total{reason="uncertified_request"}' in answers
    assert table(results) in DOCS.read_text(encoding="utf-8"), f"docs/gateway.md should have:\n\n{table(results)}\n"
