"""The auditor's export: verified by a script of the standard library, whole, without secrets; what
is changed in file, head or database is found.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from benchmarks.tampering.deployment import START, build
from knowgate import Window
from knowgate._bundles import signing
from services.audit.auditors_export import Manifest, export_ledger
from services.audit.heads import head_of
from services.audit.verify import verify_ledger
from services.errors import InputInvalid, Refused
from services.settings import read_settings
from store import schema
from store.engine import open_engine, reading, transaction
from store.ledger import ledger
from store.ledger.erasure import erase_decision
from store.traffic.decisions import find_decision
from tests.ledger_script import verified

KEY = "5e" * 32
PUBLIC = signing.public_key_of(KEY)
HOUR = timedelta(hours=1)
DAY = Window(start=START, end=START + 24 * HOUR)  # seals at 2, 4, 6 and 8 hours


@dataclass(frozen=True)
class Deployed:
    """A deployment that no test changes."""

    engine: Engine

    def export(self, folder: Path, window: Window = DAY, *, batches: int | None = None) -> Manifest:
        with reading(self.engine) as session:
            head = head_of(ledger.batch_hashes(session)[:batches], KEY)
            return export_ledger(session, window, head, folder, now=DAY.end)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("exported")
    engine = open_engine(f"sqlite:///{folder / 'knowgate.db'}")
    schema.upgrade(engine)
    build(engine, read_settings({"KNOWGATE_DATA_DIR": str(folder), "KNOWGATE_SIGNING_KEY": KEY}))
    yield Deployed(engine)
    engine.dispose()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "leaves.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_an_export_is_whole_and_verifies_without_a_database(deployed: Deployed, tmp_path: Path) -> None:
    for name, window, numbers in (
        ("all", DAY, (1, 4)),
        ("part", Window(start=START + 3 * HOUR, end=START + 7 * HOUR), (2, 3)),
        ("end", Window(start=START + 3 * HOUR, end=DAY.end), (2, 4)),
    ):
        folder = tmp_path / name
        manifest = deployed.export(folder, window)
        assert manifest.batches == numbers
        code, said = verified(folder, "--key", PUBLIC, "--head", folder / "head")
        assert code == 0, said
        assert f"batches {numbers[0]} to {numbers[1]}" in said and f"{manifest.leaves} leaves, all" in said
        assert len(lines(folder)) == manifest.leaves
    with reading(deployed.engine) as session:
        found = verify_ledger(session, head=head_of(ledger.batch_hashes(session), KEY), public_key=PUBLIC)
    assert found.verified and found.entries == len(lines(tmp_path / "all"))


def test_what_may_be_a_secret_is_withheld_and_still_proven(deployed: Deployed, tmp_path: Path) -> None:
    manifest = deployed.export(tmp_path / "all")
    whole = (tmp_path / "all" / "leaves.jsonl").read_text()
    assert "alerts.example" not in whole
    bare = {leaf["kind"] for leaf in lines(tmp_path / "all") if leaf["payload"] is None}
    assert {"delivery", "token", "cascade_version"} <= bare
    rows = [row for leaf in lines(tmp_path / "all") if leaf["kind"] == "decision" for row in leaf.get("rows", ())]
    erased = [row for row in rows if row["salt"] is None]
    assert 0 < len(erased) < len(rows) and all(row["text"] is None for row in erased)
    assert 0 < manifest.withheld < manifest.leaves


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False], ids=["manifest made anew", "manifest as it was"])
@pytest.mark.parametrize(
    "what",
    [
        "payload",
        "row",
        "row gone",
        "line gone",
        "line twice",
        "batch",
        "batch gone",
        "period",
        "after",
        "head",
        "kept head",
    ],
)
def test_whatever_is_changed_in_an_export_is_found(deployed: Deployed, tmp_path: Path, what: str, kept: bool) -> None:
    folder = tmp_path / "export"
    # Rows share a leaf in the first batch.
    deployed.export(folder, DAY if "row" in what else Window(start=START + 3 * HOUR, end=START + 7 * HOUR))
    _change(deployed, folder, what)
    if kept:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with reading(deployed.engine) as session:
        (tmp_path / "kept").write_text(head_of(ledger.batch_hashes(session), KEY).note)
    code, said = verified(folder, "--key", PUBLIC, "--head", tmp_path / "kept")
    assert code == 1 and "WRONG" in said


def _change(deployed: Deployed, folder: Path, what: str) -> None:
    leaves, batches, head = (folder / name for name in ("leaves.jsonl", "batches.jsonl", "head"))
    first, *rest = leaves.read_text().splitlines(keepends=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    if what == "payload":
        at = next(at for at, line in enumerate(rest) if '"payload":"{' in line)
        leaf = json.loads(rest[at])
        leaf["payload"] = leaf["payload"].replace("1", "2", 1)
        rest[at] = json.dumps(leaf) + "\n"
        leaves.write_text("".join([first, *rest]))
    elif what in ("row", "row gone"):
        whole = [first, *rest]
        # Erased rows have no text, and a batch's leaves come in no order to count on.
        said = ((at, json.loads(line)) for at, line in enumerate(whole))
        at, leaf = next((at, leaf) for at, leaf in said if any(row["text"] for row in leaf.get("rows") or ()))
        row = next(row for row in leaf["rows"] if row["text"])
        if what == "row":
            row["text"] = row["text"].replace("1", "2", 1)
        else:
            leaf["rows"].remove(row)
        whole[at] = json.dumps(leaf) + "\n"
        leaves.write_text("".join(whole))
    elif what == "line gone":
        leaves.write_text("".join(rest))
    elif what == "line twice":
        leaves.write_text("".join([first, first, *rest]))
    elif what == "batch":
        batches.write_text(batches.read_text().replace('"leaves":', '"leaves":1'))
    elif what == "batch gone":
        batches.write_text(batches.read_text().splitlines(keepends=True)[0])
    elif what == "period":
        manifest["period"]["start"] = START.isoformat()
    elif what == "after":
        manifest["after"] = None
    elif what == "head":
        head.write_text(head.read_text().replace("\n4\n", "\n5\n"))
    else:
        with reading(deployed.engine) as session:
            forged = head_of([*ledger.batch_hashes(session)[:3], "ab" * 32], "77" * 32)
        head.write_text(forged.note)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_period_in_which_nothing_was_sealed_and_a_folder_that_is_taken_are_refused(
    deployed: Deployed, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="nothing was sealed"):
        deployed.export(tmp_path / "none", Window(start=DAY.end, end=DAY.end + HOUR))
    with pytest.raises(Refused, match="the head is of 2 batches"):
        deployed.export(tmp_path / "none", DAY, batches=2)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(InputInvalid, match="new folder"):
        deployed.export(tmp_path / "there")


@pytest.mark.slow
def test_an_erasure_leaves_heads_and_exports_from_before_it_verifiable(
    engine: Engine, tmp_path: Path, raw: Callable[[str], None]
) -> None:
    head = build(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path), "KNOWGATE_SIGNING_KEY": KEY}))
    deployed = Deployed(engine)
    deployed.export(tmp_path / "before")
    with transaction(engine) as session:
        named = find_decision(session, "facts", "q5")
        assert named is not None and "q5" in (tmp_path / "before" / "leaves.jsonl").read_text()
        erase_decision(session, named.id, by="ada", now=START + 10 * HOUR)
        ledger.seal_all(session, now=START + 11 * HOUR)
    deployed.export(tmp_path / "after")
    for name in ("before", "after"):
        assert verified(tmp_path / name, "--key", PUBLIC)[0] == 0
    assert '"q5"' not in (tmp_path / "after" / "leaves.jsonl").read_text().replace("\\", "")
    with reading(engine) as session:
        now = head_of(ledger.batch_hashes(session), KEY)
        for one in (head, now):
            assert verify_ledger(session, head=one, public_key=PUBLIC).problems == ()
    raw("UPDATE ledger_leaf SET salt = NULL, payload = NULL WHERE kind = 'label'")
    with reading(engine) as session:
        assert not verify_ledger(session, head=head).verified


@pytest.fixture
def raw(engine: Engine) -> Callable[[str], None]:
    """Runs a statement as somebody who goes around knowgate."""

    def run(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    return run
