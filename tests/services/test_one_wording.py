"""A share and an id look the same wherever a person reads them: pages, forms, reasons, messages."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Reports of the command line, whose columns are laid out by their own rules.
REPORTS = ("services/advice/", "services/commands/advise.py", "services/simulation/")
OWN_WAY = re.compile(r":[+,]*\.\d%\}|\bbundle \{[\w.]+\[:\d+\]")


def test_shares_and_ids_are_written_by_one_piece() -> None:
    files = [file for floor in ("services", "monitoring") for file in sorted((ROOT / floor).rglob("*.py"))]
    found = [
        f"{file.relative_to(ROOT)}: {written}"
        for file in files
        if not str(file.relative_to(ROOT)).startswith(REPORTS)
        for written in OWN_WAY.findall(file.read_text(encoding="utf-8"))
    ]
    assert len(files) > 100 and found == []


def test_what_would_be_found_is_a_way_of_its_own() -> None:
    assert OWN_WAY.search('f"keeps {share:.1%}"') and OWN_WAY.search('f"bundle {record.id[:12]} decides"')
    assert not OWN_WAY.search('f"bundle {short(record.id)} keeps {to_tenths(share)}"')
