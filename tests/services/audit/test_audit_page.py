"""The page about the ledger says what is not covered, all of it and nothing else."""

import re
from pathlib import Path

from services.audit.findings import CHECKS
from store.sealing.changes import CHANGES, EVERY, Changes
from store.sealing.coverage import NOT_COVERED, RESIDUES

PAGE = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()


def test_the_page_lists_what_no_leaf_covers() -> None:
    listed = re.findall(r"^\| `(\w+\.[\w*]+)` \| (.+) \|$", PAGE, re.M)
    assert listed == [(f"{gap.table}.{gap.column}", gap.why) for gap in NOT_COVERED]


def test_the_page_lists_what_no_verification_finds() -> None:
    before, _ = PAGE.split("## What may become of a row")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", before, re.M)) == RESIDUES


def test_the_page_lists_what_may_become_of_a_row() -> None:
    _, after = PAGE.split("## What may become of a row")
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", after, re.M))
    assert listed == {kind: _said(may) for kind, may in CHANGES.items()}


def _said(may: Changes) -> str:
    names = sorted(may.columns | may.once)
    columns = ("all but its key" if name == EVERY else f"`{name}`{' once' * (name in may.once)}" for name in names)
    return ", ".join(columns) + "; rows end" * may.ends


def test_the_page_shows_the_checks_as_they_are_printed() -> None:
    shown = re.findall(r"^ok +(\w+) +\d+  (.+)$", PAGE, re.M)
    assert shown == [(name, text) for name, text in CHECKS.items() if name != "head"]
