"""Every statement that the page on certification makes about simulations names a test, and the test
is there.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_named_simulation_is_a_test() -> None:
    page = (ROOT / "docs" / "certification.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(test_\w+)` \|", page)
    assert len(named) > 15
    text = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in named if f"def {name}(" not in text] == []
