"""What can be stored is said in one module, for every door."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_other_module_has_a_rule_of_its_own() -> None:
    rooms = ("runtime/knowgate", "store", "monitoring", "training", "services")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    own = re.compile(r"2(?:\.0)?\*\*63|1 << 63|def \w*_text_cure|\\ud800")
    assert {file.name for file in files if own.search(file.read_text())} == {"storable.py"}
