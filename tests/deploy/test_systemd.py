"""The units in deploy/systemd: systemd finds no fault, and what they start works with the
environment examples beside them.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from services.settings import unknown_settings
from tests.deploy.test_deploy_pages import declared
from tests.servers import free_port, running, wait_until_answering
from tests.services.gateway.small_server import tier_server

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
PROGRAM = "/opt/knowgate/.venv/bin/knowgate"


def environment(name: str, **places: str) -> dict[str, str]:
    """What a file of the examples sets, with folders of this machine."""
    text = (UNITS / name).read_text(encoding="utf-8")
    for place, here in places.items():
        text = text.replace({"data": "/var/lib/knowgate", "etc": "/etc/knowgate"}[place], here)
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def started(unit: str, instance: str = "", **given: str) -> list[str]:
    """What a unit starts, as systemd would put it together, with this environment's program."""
    (command,) = re.findall("^ExecStart=(.+)$", (UNITS / unit).read_text(encoding="utf-8"), flags=re.MULTILINE)
    program, *arguments = shlex.split(command.replace("%i", instance))
    assert program == PROGRAM
    return [
        sys.executable,
        "-m",
        "services",
        *(re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], part) for part in arguments),
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8").replace(PROGRAM, sys.executable)
    here.write_text(text.replace("=/opt/knowgate", f"={tmp_path}"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True, check=False
    )
    ours = [line for line in checked.stderr.splitlines() if unit.stem.partition("@")[0] in line]
    assert (checked.returncode, ours) == (0, [])


def test_the_examples_set_what_there_is_and_what_units_need() -> None:
    assert not unknown_settings(environment("environment.example") | environment("gateway.example"))
    for unit in SERVICES:
        text = unit.read_text(encoding="utf-8")
        assert "EnvironmentFile=/etc/knowgate/environment\n" in text and "ProtectSystem=strict" in text
        (state,) = re.findall("^StateDirectory=(.+)$", text, flags=re.MULTILINE)
        assert environment("environment.example")["KNOWGATE_DATA_DIR"] == f"/var/lib/{state}"  # all else is read-only
        wanted = set(re.findall(r"\$\{(\w+)\}", text))
        assert wanted <= environment("gateway.example").keys()
    page = (UNITS.parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert all(f"deploy/systemd/{name}" in page for name in ("environment.example", "gateway.example", "*.service"))


@pytest.mark.slow
def test_what_the_units_start_works_with_the_examples(tmp_path: Path) -> None:
    etc, data = tmp_path / "etc", tmp_path / "data"
    (etc / "secrets").mkdir(parents=True)
    given = environment("environment.example", etc=str(etc), data=str(data))
    given |= {"KNOWGATE_PORT": str(free_port()), "HOME": str(tmp_path)}
    beside = environment("gateway.example", etc=str(etc)) | {"GATEWAY_PORT": str(free_port())}
    own = {name: value for name, value in os.environ.items() if not name.startswith("KNOWGATE_")}

    def put(name: str, secret: str) -> None:
        (etc / "secrets" / name).write_text(secret + "\n")

    def typed(*arguments: str) -> str:
        command = [sys.executable, "-m", "services", *arguments]
        return subprocess.run(command, env=own | given, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    put("database_url", f"sqlite:///{data}/knowgate.db")
    put("hash_key", "0" * 32)
    put("signing_key", "1" * 64)
    put("webhook_secret", "a text of sixteen")
    put("gateway_key", "asked-of-callers")
    with ExitStack() as stack:
        small, large = (stack.enter_context(tier_server(said, 0.9)) for said in ("Lima", "Quito"))
        (tmp_path / "cascade.toml").write_text(declared(small.url, large.url))
        typed("cascade", "apply", "cascade.toml")
        put("gateway_token", typed("token", "create", "gateway", "--role", "runtime").strip())

        def unit(name: str, more: dict[str, str], instance: str = "") -> "subprocess.Popen[bytes]":
            command = started(f"{name}.service", instance, **more)
            return stack.enter_context(running(command, environment=given | more, log=tmp_path / f"{name}.log"))

        api = unit("knowgate-api", {})
        wait_until_answering(f"http://127.0.0.1:{given['KNOWGATE_PORT']}/readyz", api, within_s=300)
        scheduler = unit("knowgate-scheduler", {})
        gateway = unit("knowgate-gateway@", beside, "support")
        at = f"http://127.0.0.1:{beside['GATEWAY_PORT']}"
        wait_until_answering(f"{at}/healthz", gateway, within_s=300)
        answer = httpx2.post(
            f"{at}/v1/chat/completions",
            json={"model": "support", "messages": [{"role": "user", "content": "Which city?"}]},
            headers={"Authorization": "Bearer asked-of-callers"},
            timeout=120,
        )
        assert answer.json()["choices"][0]["message"]["content"] == "Quito"
        for process in (gateway, scheduler, api):
            process.terminate()
            assert process.wait(timeout=120) in (0, -signal.SIGTERM)  # systemd takes both for a good end
