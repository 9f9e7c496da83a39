"""Where no container engine runs: `docker compose` of deploy/compose.yaml, done with processes on
loopback. `python -m tests.deploy.composed compose …` takes the commands that the pages show.

A service's command is started as the file gives it, with the environment, secrets and volumes that
it gives, and with the image's own environment. Put in are ports, since tests run side by side,
folders in place of a container's paths, and the addresses of other services. `database` is a
database on the server that $COMPOSED_POSTGRESQL names. Images that are not ours are programs of
this machine, or not started.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import URL, create_engine, make_url, text

from tests.servers import free_port

PROGRAMS = {"prom/prometheus": "prometheus", "prom/alertmanager": "prometheus-alertmanager"}
ABSENT = ("grafana/grafana",)  # no package has it
PATIENCE_S = 300.0
GROUP_ENDS_WITHIN_S = 120.0
KILLED_AFTER_S = 10.0


class Composed:
    """The services of one compose file, with all that they keep under `folder`."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.file = file.resolve()
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load(_interpolated(self.file.read_text(encoding="utf-8")))["services"]
        self.secrets: dict[str, Any] = yaml.safe_load(self.file.read_text(encoding="utf-8"))["secrets"]

    @cached_property
    def ports(self) -> dict[str, int]:
        """What is free here, by `service:port`; the same from one call to the next."""
        kept = self.folder / "ports.json"
        if not kept.exists():
            places = [f"{name}:{port}" for name in self.services for port in self.own_ports(name)]
            self.folder.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({place: free_port() for place in places}))
        found: dict[str, int] = json.loads(kept.read_text())
        return found

    def own_ports(self, name: str) -> list[str]:
        return [published.rpartition(":")[2] for published in self.services[name].get("ports", ())]

    def url(self, name: str) -> str:
        (port,) = self.own_ports(name)
        return f"http://127.0.0.1:{self.ports[f'{name}:{port}']}"

    def here(self, name: str, said: str) -> str:
        """A text of the service `name` with this machine's ports, addresses and folders."""
        for place, port in self.ports.items():
            service, _, inside = place.partition(":")
            said = re.sub(rf"\b{service}:{inside}\b", f"127.0.0.1:{port}", said)
            if service == name:
                said = re.sub(rf"(127\.0\.0\.1|localhost|0\.0\.0\.0):{inside}\b", rf"\g<1>:{port}", said)
                said = re.sub(rf"--port {inside}\b", f"--port {port}", said)
        places = dict(sorted(self.places(name), key=lambda place: -len(place[0])))
        inside = "|".join(map(re.escape, places))
        return re.sub(rf"(?<![\w.])({inside})(?=[/\s'\"]|$)", lambda found: places[found[1]], said)

    def places(self, name: str) -> Iterator[tuple[str, str]]:
        """A container's paths, and the folders that stand for them."""
        for volume in self.services[name].get("volumes", ()):
            source, inside = volume.split(":")[:2]
            if source.startswith("."):
                yield inside, str(self.mounted(name, self.file.parent / source))
            else:
                yield inside, source if source.startswith("/") else str(self.made("volumes", source))
        yield "/run/secrets", str(self.folder / "secrets" / name)
        yield "/tmp", str(self.made("tmp", name))

    def made(self, *parts: str) -> Path:
        folder = self.folder.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def mounted(self, name: str, source: Path) -> Path:
        """The configuration's folder."""
        return self.folder / "mounted" / name / source.name

    def environment(self, name: str) -> dict[str, str]:
        """What a container of it would have, and where this machine's programs are."""
        given = {key: self.here(name, str(value)) for key, value in self.services[name].get("environment", {}).items()}
        ours = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if key in os.environ}
        home = str(self.made("homes", name))
        if "build" not in self.services[name]:
            return ours | {"HOME": home} | given
        image = {
            key: self.here(name, value) for key, value in _image_environment(self.file.parent / "Dockerfile").items()
        }
        ports = self.own_ports(name)
        listens = {"KNOWGATE_PORT": str(self.ports[f"{name}:{ports[0]}"])} if name == "api" else {}
        return ours | {"HOME": home} | image | given | listens

    def prepare(self, name: str) -> None:
        """The secrets and configuration as a container would see them."""
        for secret in self.services[name].get("secrets", ()):
            content = (self.file.parent / self.secrets[secret]["file"]).read_text(encoding="utf-8").strip()
            if secret == "database_url":
                content = self.database(content).render_as_string(hide_password=False)
            (self.made("secrets", name) / secret).write_text(content)
        for volume in self.services[name].get("volumes", ()):
            source = self.file.parent / volume.split(":")[0]
            if volume.startswith("."):
                for path in filter(Path.is_file, source.rglob("*")):
                    to = self.mounted(name, source) / path.relative_to(source)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_text(self.here(name, path.read_text(encoding="utf-8")))

    def database(self, said: str) -> URL:
        """The address that `said` is here. Fails where it does not lead to the service."""
        url = make_url(said)
        given = self.services["database"]["environment"]
        assert (url.host, url.username, url.database) == ("database", given["POSTGRES_USER"], given["POSTGRES_DB"])
        server = make_url(os.environ["COMPOSED_POSTGRESQL"])
        return server.set(username=self.own("role"), password=url.password, database=self.own("database"))

    def own(self, what: str) -> str:
        """A name of this deployment's own on the server."""
        return f"composed_{what}_{self.folder.name}"

    def make_database(self) -> None:
        """What the image does at its first start."""
        password = (self.file.parent / self.secrets["postgres_password"]["file"]).read_text().strip()
        engine = create_engine(os.environ["COMPOSED_POSTGRESQL"], isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            known = text("SELECT count(*) FROM pg_database WHERE datname = :name")
            if not connection.scalar(known, {"name": self.own("database")}):
                connection.exec_driver_sql(f"CREATE ROLE {self.own('role')} LOGIN PASSWORD '{password}'")
                connection.exec_driver_sql(f"CREATE DATABASE {self.own('database')} OWNER {self.own('role')}")
        engine.dispose()

    def command(self, name: str, given: list[str] | str) -> list[str]:
        """The program of this machine for a command in a container of `name`."""
        parts = shlex.split(self.here(name, given if isinstance(given, str) else shlex.join(given)))
        entry = PROGRAMS.get(self.services[name]["image"].partition(":")[0])
        return [entry, *parts] if entry else parts

    def up(self, names: list[str], *, profiles: tuple[str, ...]) -> None:
        """Starts them and what they depend on, in that order, and waits until all are healthy."""
        chosen = names or [
            name
            for name, service in self.services.items()
            if set(service.get("profiles", ())) <= set(profiles) and service["image"].partition(":")[0] not in ABSENT
        ]
        for name in chosen:
            self.start(name)
        for name in chosen:
            self.wait_until_healthy(name)

    def start(self, name: str) -> None:
        if name == "database":
            self.make_database()
            return
        if self.running(name):
            return
        for other, wanted in self.services[name].get("depends_on", {}).items():
            self.start(other)
            if wanted["condition"] == "service_healthy":
                self.wait_until_healthy(other)
        if self.services[name].get("restart") == "no":
            self.run(name, self.services[name]["command"])
            return
        self.prepare(name)
        command = self.command(name, self.services[name]["command"])
        with (self.made("logs") / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.made("homes", name),
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.made("pids").joinpath(name).write_text(str(process.pid))

    def run(self, name: str, command: list[str] | str) -> None:
        """One command to its end, with this process's own input and output; ends as it does where
        it fails.
        """
        self.prepare(name)
        ended = subprocess.run(self.command(name, command), env=self.environment(name), check=False).returncode
        if ended:
            sys.exit(ended)

    def running(self, name: str) -> int | None:
        """The process's id, while it runs."""
        kept = self.folder / "pids" / name
        if not kept.exists():
            return None
        pid = int(kept.read_text())
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return None
        return None if state == "Z" else pid

    def wait_until_healthy(self, name: str) -> None:
        """Asks as the health check does; `curl` in place of `wget`, which may not be here."""
        check = self.services[name].get("healthcheck", {})
        if name == "database" or check.get("disable"):
            return
        test = self.command_of_check(name)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.running(name), f"{name} has ended: {self.log(name)}"
            if subprocess.run(test, env=self.environment(name), capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(f"{name} is not healthy after {PATIENCE_S:g} s: {self.log(name)}")

    def command_of_check(self, name: str) -> list[str]:
        kind, *test = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD", "what a shell would take apart is not taken apart here"
        if test[0] == "wget":
            test = ["curl", "--silent", "--fail", "--output", "/dev/null", test[-1]]
        return [self.here(name, part) for part in test]

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self, names: list[str]) -> None:
        """As asked to; one that is not given a time in the file is killed after ten seconds, as an
        engine does, and of one that is given it that is a failure.
        """
        for name in names or list(self.services):
            pid = self.running(name)
            if pid is None:
                continue
            os.kill(pid, signal.SIGTERM)
            promised = "stop_grace_period" in self.services[name]
            deadline = time.monotonic() + (GROUP_ENDS_WITHIN_S if promised else KILLED_AFTER_S)
            while self.running(name) and time.monotonic() < deadline:
                time.sleep(0.1)
            ended = self.running(name) is None or not promised
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            assert ended, f"{name} did not end within {GROUP_ENDS_WITHIN_S:g} s of SIGTERM: {self.log(name)}"


def _interpolated(said: str) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: os.environ.get(found[1]) or found[2], said)


def _image_environment(dockerfile: Path) -> dict[str, str]:
    (said,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(said.replace("\\\n", " ")))


def main(arguments: list[str]) -> None:
    """The commands of the pages: up, exec, run, cp, stop, down, build."""
    assert arguments.pop(0) == "compose"
    profiles = tuple(filter(None, os.environ.get("COMPOSE_PROFILES", "").split(",")))
    composed = Composed(Path(os.environ["COMPOSE_FILE"]), Path(os.environ["COMPOSED"]))
    action = arguments.pop(0)
    flags, rest = _flags(arguments)
    if action == "up":
        composed.up(rest, profiles=profiles)
    elif action == "exec":
        assert composed.running(rest[0]), f"{rest[0]} does not run"
        composed.run(rest[0], rest[1:])
    elif action == "run":
        composed.services[rest[0]].setdefault("volumes", [])
        composed.services[rest[0]] |= {"volumes": [*composed.services[rest[0]]["volumes"], *flags]}
        for other in composed.services[rest[0]].get("depends_on", {}):
            composed.start(other)
        composed.run(rest[0], rest[1:])
    elif action == "cp":
        _copy(composed, *rest)
    elif action in ("stop", "down"):
        composed.stop(rest)
    else:
        assert action == "build", action


def _flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Volumes that are named, and what follows the flags."""
    volumes = []
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag in ("--volume", "--user", "--cap-add"):
            value = rest.pop(0)
            volumes += [value] if flag == "--volume" else []
    return volumes, rest


def _copy(composed: Composed, source: str, to: str) -> None:
    def place(said: str) -> Path:
        name, mark, path = said.partition(":")
        return Path(composed.here(name, path)) if mark else Path(said)

    place(to).write_bytes(place(source).read_bytes())


if __name__ == "__main__":
    main(sys.argv[1:])
