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


# Bytes installed: more of them, and the wheel has grown by what nobody asked for.
MOST_OF_THE_WHEEL = 1_500_000
MODULES = "import pkgutil, knowgate; print(*(m.name for m in pkgutil.walk_packages(knowgate.__path__, 'knowgate.')))"


@pytest.mark.slow
def test_the_wheel_is_small_imports_alone_and_brings_no_tests(tmp_path: Path) -> None:
    runtime = copied_runtime(tmp_path)
    python = empty_environment(tmp_path)
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", runtime, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("knowgate-*-py3-none-any.whl")
    constraints = REPOSITORY / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=tmp_path)
    installed = Path(run(python, "-c", "import knowgate; print(knowgate.__path__[0])", cwd=tmp_path).strip())
    files = [path for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < MOST_OF_THE_WHEEL
    assert (installed / "py.typed").exists() and not [path for path in files if "test" in path.name]
    # Of the back-ends each names its extra where that is missing; all else is there without one.
    plain = [name for name in run(python, "-c", MODULES, cwd=tmp_path).split() if ".backends." not in name]
    assert len(plain) > 30
    loaded = (
        "import importlib, json, sys; before = set(sys.modules); [importlib.import_module(m) for m in sys.argv[1:]]"
    )
    said = f"{loaded}; print(json.dumps(sorted(set(sys.modules) - before)))"
    roots = {name.partition(".")[0] for name in json.loads(run(python, "-c", said, *plain, cwd=tmp_path))}
    assert roots - set(sys.stdlib_module_names) <= OWN


def empty_environment(folder: Path) -> Path:
    """The interpreter of a new environment."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / Path(sys.executable).name
    return python if python.exists() else environment / "bin" / "python"


def copied_runtime(folder: Path) -> Path:
    """A copy, since building leaves files in the source's folder."""
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "runtime", cwd=REPOSITORY)
    for name in filter(None, files.split("\0")):
        if (REPOSITORY / name).is_file():
            copied = folder / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes((REPOSITORY / name).read_bytes())
    return folder / "runtime"


@pytest.mark.slow
def test_the_runtime_passes_its_tests_with_numpy_and_safetensors_alone(tmp_path: Path) -> None:
    python = empty_environment(tmp_path)
    runtime = copied_runtime(tmp_path)
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
