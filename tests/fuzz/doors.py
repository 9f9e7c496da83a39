"""The API and the gateway as real processes under Schemathesis, to the end of its fuzzing phase,
with a token of every role and with none.

A finding is an answer of 5xx, or one that is not what the API's own description says.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store import schema
from store.engine import closing_engine, transaction
from store.tokens import TokenRole, create_token
from tests import servers
from tests.services.gateway.cast import KEY, declare
from tests.services.gateway.small_server import tier_server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
GATEWAYS_CHECKS = "not_a_server_error"
LONGEST_S = 3 * 3600
NOBODY = "nobody"
Say = Callable[[str], None]
ANY: dict[str, Any] = {"description": "what OpenAI's API answers"}
MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"enum": ["system", "user", "assistant", "tool"]}, "content": {}},
        "required": ["role"],
    },
}
ASKED = {
    "model": {"anyOf": [{"const": "trivia"}, {"type": "string"}]},
    "messages": MESSAGES,
    "stream": {"type": "boolean"},
    "temperature": {},
    "max_tokens": {},
    "tools": {},
    "response_format": {},
    "metadata": {},
    "n": {},
    "input": {},
    "prompt": {},
}
GATEWAY = {  # as much of OpenAI's protocol as it speaks
    "openapi": "3.1.0",
    "info": {"title": "gateway", "version": "1"},
    "paths": {
        f"/v1/{path}": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"type": "object", "properties": ASKED, "required": ["model"]},
                        }
                    },
                },
                "responses": {"default": ANY},
            }
        }
        for path in ("chat/completions", "completions", "responses", "embeddings")
    }
    | {
        "/v1/models/{name}": {
            "get": {
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"default": ANY},
            }
        },
        "/v1/models": {"get": {"responses": {"default": ANY}}},
        "/healthz": {"get": {"responses": {"default": ANY}}},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Where they are, and who may come in."""

    api: str
    gateway: str
    tokens: Mapping[str, str | None]  # by role


@contextmanager
def open_doors(folder: Path) -> Iterator[Doors]:
    """Both at work on a cascade of two small tiers, on SQLite."""
    url = f"sqlite:///{folder / 'knowgate.db'}"
    ports = [servers.free_port(), servers.free_port()]
    api, gateway = (f"http://127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
        with closing_engine(url) as engine:
            schema.upgrade(engine)
            declare(engine, small.url, large.url)
            with transaction(engine) as session:
                now = datetime.now(UTC)
                tokens = {role.value: create_token(session, role.value, role, now) for role in TokenRole}
        environment = {
            "KNOWGATE_DATA_DIR": str(folder / "data"),
            "KNOWGATE_DATABASE_URL": url,
            "KNOWGATE_PORT": str(ports[0]),
            "KNOWGATE_TOKEN": tokens["runtime"],
            "KNOWGATE_GATEWAY_KEY": KEY,
            "KNOWGATE_MAX_BODY_BYTES": str(1 << 20),
        }
        program = [sys.executable, "-m", "services"]
        for name, port, command in (
            ("api", ports[0], ["serve"]),
            ("gateway", ports[1], ["gateway", "--cascade=trivia", f"--port={ports[1]}"]),
        ):
            process = stack.enter_context(
                servers.running([*program, *command], environment=environment, log=folder / f"{name}.log")
            )
            servers.wait_until_answering(f"http://127.0.0.1:{port}/healthz", process, within_s=300)
        yield Doors(api=api, gateway=gateway, tokens={**tokens, NOBODY: None})


def ask_all(examples: int, seed: int, findings: Path, say: Say) -> dict[str, tuple[int, int]]:
    """Of every door and role how many requests were made, and how many findings there were; what
    was found lies in `findings`.
    """
    counted: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="kg-doors-") as made:
        folder = Path(made)
        (folder / "gateway.json").write_text(json.dumps(GATEWAY), encoding="utf-8")
        with open_doors(folder) as doors:
            for role, token in doors.tokens.items():
                where = [f"{doors.api}/openapi.json", f"--checks={CHECKS}"]
                counted[f"api as {role}"] = _ask(where, token, examples, seed, folder / "report.json")
            for role, key in (("caller", KEY), (NOBODY, None)):
                where = [str(folder / "gateway.json"), f"--url={doors.gateway}", f"--checks={GATEWAYS_CHECKS}"]
                counted[f"gateway as {role}"] = _ask(where, key, examples, seed, folder / "report.json")
        if any(found for _, found in counted.values()):
            for log in folder.glob("*.log"):
                shutil.copy(log, findings)
    for door, (inputs, found) in counted.items():
        say(f"{door}: {inputs} requests, {found} findings")
    return counted


def _ask(where: list[str], token: str | None, examples: int, seed: int, report: Path) -> tuple[int, int]:
    command = [sys.executable, "-m", "schemathesis.cli", "run", *where, "--phases=fuzzing", "--continue-on-failure"]
    command += [f"--max-examples={examples}", f"--seed={seed}", f"--report-json-path={report}", "--no-shrink"]
    command += ["--suppress-health-check=all", "--generation-database=none"]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environment, cwd=report.parent
    )
    if done.returncode not in (0, 1):
        raise AssertionError(done.stdout[-2000:] + done.stderr[-2000:])
    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["complete"] and document["phases"]["fuzzing"]["status"] in ("success", "failure"), done.stdout
    for failure in document["failures"]:
        sys.stderr.write(f"{json.dumps(failure)[:2000]}\n")
    cases = document["test_cases"]
    return cases["generated"], cases["unique_failures"]
