"""The script that outsiders verify with: its Ed25519 and Merkle trees against known answers, and
what it says of proofs, of heads, and of what somebody changed in them.
"""

import base64
import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from typer.testing import CliRunner

from benchmarks.tampering.deployment import build
from knowgate._bundles import signing
from services.audit import heads, proofs
from services.audit.heads import Head, head_of, parse_head
from services.audit.witnesses import COSIGNATURE
from services.command_line import app
from services.errors import Refused
from services.settings import read_settings
from store.engine import open_engine, reading, transaction
from store.ledger import ledger
from store.sealing import merkle
from tests.ledger_script import SCRIPT
from tests.ledger_script import verified as script

KEY, WITNESS = "5e" * 32, "77" * 32
NAME = "witness.example/w1"


def _loaded() -> Any:
    spec = importlib.util.spec_from_file_location("verify_ledger", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPTED = _loaded()
# RFC 8032, section 7.1: public key, message, signature.
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_signatures_of_rfc_8032_hold_and_no_others(public: str, message: str, signature: str) -> None:
    key, said, signed = map(bytes.fromhex, (public, message, signature))
    assert SCRIPTED.ed25519_holds(key, said, signed)
    assert not SCRIPTED.ed25519_holds(key, said + b"\x00", signed)
    for at in (0, 31, 32, 63):
        assert not SCRIPTED.ed25519_holds(key, said, signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    larger = int.from_bytes(signed[32:], "little") + SCRIPTED.L
    assert not SCRIPTED.ed25519_holds(key, said, signed[:32] + larger.to_bytes(32, "little")), "s is below the order"


items = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)


@given(items, st.data())
@settings(max_examples=60)
def test_paths_and_comparisons_lead_to_the_root_and_to_no_other(hashes: list[bytes], data: st.DataObject) -> None:
    index, size = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(1, len(hashes)))
    root, older = merkle.root(hashes), merkle.root(hashes[:size])
    path = [step.sibling for step in merkle.proof(hashes, index)]
    assert SCRIPTED.root_by_path(hashes[index], index, len(hashes), path) == root == SCRIPTED.root_of(hashes)
    steps = list(merkle.consistency(hashes, size))
    assert len(steps) <= len(hashes).bit_length() + 1
    assert SCRIPTED.grew_from(older, size, root, len(hashes), steps)
    other = hashlib.sha256(older).digest()
    assert not SCRIPTED.grew_from(other, size, root, len(hashes), steps)
    assert not SCRIPTED.grew_from(older, size, other, len(hashes), steps)
    assert not SCRIPTED.grew_from(older, size, root, len(hashes), [*steps, other])
    with pytest.raises(SCRIPTED.Wrong):
        SCRIPTED.root_by_path(hashes[index], index, len(hashes), [*path, other])


def test_a_comparison_with_what_is_not_there_is_refused() -> None:
    for size in (0, 3):
        with pytest.raises(IndexError, match="2 leaves"):
            merkle.consistency([b"a" * 32, b"b" * 32], size)


def cosigned(head: Head, *, seen: int | None) -> tuple[Head, str]:
    """The head with a witness's line, with a time where it is given; and the witness's verifier
    key.
    """
    kind = heads.ED25519 if seen is None else COSIGNATURE
    public = signing.public_key_of(WITNESS)
    named = heads.key_id(NAME, kind, public)
    said = head.text.encode() if seen is None else f"cosignature/v1\ntime {seen}\n{head.text}".encode()
    stamp = b"" if seen is None else seen.to_bytes(8, "big")
    line = base64.b64encode(named + stamp + bytes.fromhex(signing.sign(WITNESS, said))).decode()
    verifier = f"{NAME}+{named.hex()}+{base64.b64encode(kind + bytes.fromhex(public)).decode()}"
    return parse_head(f"{head.note}\u2014 {NAME} {line}\n"), verifier


@pytest.fixture
def knowgate(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `knowgate audit` in a small deployment."""
    engine = open_engine(sqlite_url)
    build(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path), "KNOWGATE_SIGNING_KEY": KEY}))
    engine.dispose()
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWGATE_SIGNING_KEY", KEY)
    return lambda *arguments: CliRunner().invoke(app, ["audit", *map(str, arguments)])


def head_at(url: str, batches: int) -> Head:
    engine = open_engine(url)
    with reading(engine) as session:
        made = head_of(ledger.batch_hashes(session)[:batches], KEY)
    engine.dispose()
    return made


def test_a_proof_is_verified_offline_under_the_head_that_was_kept(
    knowgate: Callable[..., Any], tmp_path: Path, sqlite_url: str
) -> None:
    kept, file, public = tmp_path / "kept", tmp_path / "proof.json", signing.public_key_of(KEY)
    head, witness = cosigned(head_at(sqlite_url, 4), seen=1_700_000_000)
    kept.write_text(head.note)
    file.write_text(knowgate("prove", "q5", "--head", kept).stdout)
    code, said = script(file, "--key", public, "--head", kept, "--witness", witness)
    assert code == 0 and "is in batch 1" in said and "signed by witness" in said and "that you kept" in said
    proof = json.loads(file.read_text())
    leaf, row = proof["leaves"][0]["leaf"], proof["leaves"][0]["row"]
    assert json.loads(row["text"])[json.loads(leaf["payload"])["columns"].index("external_id")] == "q5"
    code, said = script(file, "--key", signing.public_key_of(WITNESS))
    assert code == 1 and "not signed by the key" in said
    kept.write_text(head_at(sqlite_url, 3).note)
    assert script(file, "--head", kept)[0] == 1
    assert knowgate("prove", "nobody").exit_code != 0


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("payload", "does not hash"),
        ("text", "does not hash"),
        ("content", "does not hash"),
        ("row", "is not among the rows of its leaf"),
        ("path", "a path is too short"),
        ("subject", "another subject"),
        ("revision", "does not hash"),
        ("index", "is not in batch"),
        ("root", "is not in batch"),
        ("sealed_at", "does not hash"),
        ("number", "does not hash"),
        ("head", "not under the head"),
    ],
)
def test_whatever_is_changed_in_a_proof_is_found(
    knowgate: Callable[..., Any], tmp_path: Path, sqlite_url: str, field: str, named: str
) -> None:
    proof = json.loads(knowgate("prove", "q5").stdout)
    leaf, sealed, row = (proof["leaves"][0][name] for name in ("leaf", "sealed", "row"))
    changes: dict[str, Callable[[], Any]] = {
        "payload": lambda: leaf.update(payload=leaf["payload"].replace("root", "Root")),
        "text": lambda: row.update(text=row["text"].replace("q5", "q6")),
        "content": lambda: row.update(content="00" * 32),
        "row": lambda: row.update(subject="another"),
        "path": lambda: row.update(path=row["path"][1:]),
        "subject": lambda: proof.update(subject="another"),
        "revision": lambda: leaf.update(revision=2),
        "index": lambda: sealed.update(index=(sealed["index"] + 1) % sealed["batch"]["leaves"]),
        "root": lambda: sealed["batch"].update(root="00" * 32),
        "sealed_at": lambda: sealed["batch"].update(sealed_at="2026-03-10T14:00:01+00:00"),
        "number": lambda: sealed["batch"].update(number=2),
        "head": lambda: proof.update(head=head_at(sqlite_url, 3).note),
    }
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    assert script(tmp_path / "proof.json", "--key", signing.public_key_of(KEY))[0] == 0
    changes[field]()
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    code, said = script(tmp_path / "proof.json", "--key", signing.public_key_of(KEY))
    assert code == 1 and named in said


def test_two_heads_are_compared_offline(knowgate: Callable[..., Any], tmp_path: Path, sqlite_url: str) -> None:
    older, file = tmp_path / "older", tmp_path / "grown.json"
    older.write_text(head_at(sqlite_url, 2).note)
    file.write_text(knowgate("consistency", older).stdout)
    code, said = script(file, "--key", signing.public_key_of(KEY), "--head", older)
    assert code == 0 and "of 4 batches begins with the 2 of the older head" in said
    other = json.loads(file.read_text())
    engine = open_engine(sqlite_url)
    with reading(engine) as session:
        hashes = ledger.batch_hashes(session)
    engine.dispose()
    other["older"] = head_of([hashes[1], hashes[0]], KEY).note
    file.write_text(json.dumps(other))
    assert script(file)[0] == 1


def test_a_head_of_another_ledger_proves_nothing(engine: Engine, tmp_path: Path) -> None:
    build(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path)}))
    with transaction(engine) as session:
        hashes = ledger.batch_hashes(session)
        foreign, ours = head_of(hashes[::-1], KEY), head_of(hashes, KEY)
        with pytest.raises(Refused, match="not of this ledger"):
            proofs.prove(session, "q5", foreign)
        with pytest.raises(Refused, match="not of this ledger"):
            proofs.prove_consistency(session, head_of(hashes[1:], KEY), ours)
        with pytest.raises(Refused, match="turn them round"):
            proofs.prove_consistency(session, ours, head_of(hashes[:1], KEY))


def test_a_head_has_to_be_signed_by_every_witness(
    knowgate: Callable[..., Any], tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, bare = tmp_path / "kept", head_at(sqlite_url, 4)
    for seen in (None, 1_700_000_000):
        signed, witness = cosigned(bare, seen=seen)
        kept.write_text(signed.note)
        monkeypatch.setenv("KNOWGATE_WITNESS_KEYS", witness)
        assert knowgate("verify", "--head", kept).exit_code == 0
        spoilt = signed.note.splitlines()
        spoilt[-1] = f"{spoilt[-1][:-6]}AAAAA="
        kept.write_text("\n".join(spoilt) + "\n")
        assert knowgate("verify", "--head", kept).stdout.count(f"the signature of witness {NAME} is not over") == 1
    kept.write_text(bare.note)
    assert f"witness {NAME} did not sign it" in knowgate("verify", "--head", kept).stdout
    assert knowgate("verify", "--head", kept, "--witness", "w+00000000+AAAA").exit_code != 0


def test_a_key_is_made_once_and_shown_nowhere(knowgate: Callable[..., Any], tmp_path: Path) -> None:
    place = tmp_path / "signing.key"
    made = knowgate("key", place)
    secret = place.read_text().strip()
    assert place.stat().st_mode & 0o777 == 0o600
    assert secret not in made.stdout and signing.public_key_of(secret) in made.stdout
    assert knowgate("key", place).exit_code != 0 and place.read_text().strip() == secret
    shown = knowgate("key").stdout
    assert heads.verifier_key(signing.public_key_of(KEY)) in shown and KEY not in shown
