"""The runtime lives on numpy and safetensors alone: installed into an empty environment, it passes
its own tests.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OWN = {"knowgate", "numpy", "safetensors"}
TEST_TOOLS = {"pytest", "psutil", "hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "sortedcontainers"}
INSTALLER = {"pip", "setuptools"}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; its whole output is the message where it fails. No path of this
    environment leaks in.
    """
    network = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "_proxy" in name.lower()}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1", **network},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_runtime_passes_its_tests_with_numpy_and_safetensors_alone(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / Path(sys.executable).name
    python = python if python.exists() else environment / "bin" / "python"
    # A copy, since building leaves files in the source's folder.
    runtime = tmp_path / "runtime"
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "runtime", cwd=REPOSITORY)
    for name in filter(None, files.split("\0")):
        if (REPOSITORY / name).is_file():
            copied = tmp_path / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes((REPOSITORY / name).read_bytes())
    constraints = REPOSITORY / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, f"{runtime}[test]", cwd=tmp_path)
    installed = {
        row["name"].lower() for row in json.loads(run(python, "-m", "pip", "list", "--format=json", cwd=tmp_path))
    }
    assert installed >= OWN
    assert installed - INSTALLER - TEST_TOOLS == OWN
    # The installed package is what is tested, not the folder beside the tests.
    (runtime / "knowgate").rename(tmp_path / "source")
    output = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", runtime / "tests", cwd=tmp_path)
    assert " passed" in output
    assert " failed" not in output and " error" not in output
