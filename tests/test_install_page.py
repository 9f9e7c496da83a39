"""What the documents say of installing is true: extras exist, and what gives the command is what
they say gives it.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *(REPOSITORY / "docs").glob("*.md"),
    *(REPOSITORY / name for name in ("README.md", "runtime/README.md", "deploy/Dockerfile", "CONTRIBUTING.md")),
]
INSTALLED = re.compile(r"(?<![\w./-])(\.|\./runtime|knowgate|knowgate-control)\[([a-z0-9,]+)\]")
COMMANDS = re.compile(r"^(?:\S*/)?knowgate [a-z-]", re.MULTILINE)


def extras(project: str) -> set[str]:
    """The extras that a distribution declares; `project` is how a document calls it."""
    folder = REPOSITORY if project in (".", "knowgate-control") else REPOSITORY / "runtime"
    return set(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def install_lines(page: Path) -> list[str]:
    return [line for line in page.read_text(encoding="utf-8").splitlines() if "pip install" in line]


def test_every_extra_that_a_document_names_is_one() -> None:
    named = [found for page in PAGES for line in install_lines(page) for found in INSTALLED.findall(line)]
    assert len(named) >= 8
    for project, listed in named:
        assert set(listed.split(",")) <= extras(project), f"{project}[{listed}]"


def test_the_install_page_names_every_extra_that_a_user_may_want() -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == extras(".") - {"dev"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_who_is_to_run_the_command_is_told_to_install_what_has_it(page: Path) -> None:
    for block in re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if "pip install" in block and COMMANDS.search(block):
            assert "--editable '.[" in block, block


@pytest.mark.slow
def test_the_control_plane_gives_the_command_and_the_runtime_does_not(tmp_path: Path) -> None:
    checkout = copied(tmp_path / "checkout")
    both, alone = tmp_path / "both", tmp_path / "alone"
    install(checkout, both, "--editable", "./runtime", "--editable", ".[gateway]")
    install(checkout, alone, "./runtime")
    assert not (alone / "bin" / "knowgate").exists()
    # What it needs beside itself is in this environment already; it comes after what was installed
    # there.
    (packages,) = both.glob("lib/python*/site-packages")
    (packages / "zz_libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    for arguments in (["--help"], ["gateway", "--help"]):
        done = subprocess.run(
            [both / "bin" / "knowgate", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    where = [both / "bin" / "python", "-c", "import services, knowgate; print(services.__file__, knowgate.__file__)"]
    paths = subprocess.run(where, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(path.startswith(str(checkout)) for path in paths.split())


def copied(folder: Path) -> Path:
    """The checkout, without what is built in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


def install(checkout: Path, environment: Path, *what: str) -> None:
    """What the page says, less what an index would be asked for."""
    venv.create(environment, with_pip=False)
    offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", *offline, *what],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
