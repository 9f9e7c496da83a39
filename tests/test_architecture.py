"""The page on architecture names every room, and the import rules find a planted arrow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("services", "monitoring", "training", "evidence", "store", "runtime/knowgate")
MOST_SIBLINGS = 20
# A table or a command each has a module of its own, however many there are.
LONG_LISTS = {"store/tables", "services/commands"}


def rooms() -> set[str]:
    return {
        f"{folder.relative_to(ROOT)}/"
        for floor in FLOORS
        for folder in (ROOT / floor).iterdir()
        if (folder / "__init__.py").exists()
    }


def test_the_page_names_every_room_and_no_other() -> None:
    section = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_/]+/)` \|", section, re.MULTILINE)) == rooms()


def test_no_folder_is_long_to_read() -> None:
    folders = [path for floor in FLOORS for path in (ROOT / floor).rglob("*") if (path / "__init__.py").exists()]
    long = {
        str(folder.relative_to(ROOT)): modules
        for folder in [*folders, *(ROOT / floor for floor in FLOORS)]
        if (modules := len([file for file in folder.glob("*.py") if file.name != "__init__.py"])) > MOST_SIBLINGS
    }
    assert long.keys() <= LONG_LISTS, long


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("evidence/bounds/power.py", "import store.errors", "imports only go down"),
        ("evidence/bounds/power.py", "import evidence.signals.quality", "Rooms of evidence"),
        ("store/sealing/merkle.py", "import store.traffic.decisions", "Rooms of the store"),
        ("training/rows/splits.py", "import training.certification.certify", "Rooms of training"),
        ("services/audit/findings.py", "import services.commands.audit", "Rooms of the services"),
        ("runtime/knowgate/_wire/backoff.py", "import knowgate._bundles.pair", "Rooms of the runtime"),
        ("runtime/knowgate/_records/ids.py", "import pandas", "numpy and safetensors only"),
        ("monitoring/drift/drift.py", "import monitoring.watching.watch", "Rooms of monitoring"),
        ("monitoring/names.py", "import monitoring.watching.watch", "No circles"),
        ("monitoring/drift/drift.py", "import evidently", "Evidently is one room's affair"),
    ],
)
def test_a_planted_import_breaks_a_rule(tmp_path: Path, file: str, line: str, broken: str) -> None:
    for folder in ("services", "monitoring", "training", "evidence", "store", "runtime", "demo"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=_all_but_modules)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / file
    planted.write_text(f"{planted.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(tmp_path / "runtime")])
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(rf"{broken}.* BROKEN", run.stdout), run.stdout


def _all_but_modules(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder) / name).is_dir() and not name.endswith(".py")]
