"""Writes the golden files of a version: what a deployment of it leaves on disk, which later
versions must read. Run once, when a version is made, and never again for the same one:

    PYTHONPATH=.:runtime:runtime/tests python -m tests.golden.make 0.1.0
"""

import gzip
import json
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np

import conftest as runtime_cast  # runtime/tests/conftest.py
from factories import NOW, make_assignment, make_decision
from knowgate import Label, Labels, LabelSource, ProbeKind, Spool, decide, write_bundle
from knowgate._wire import codec
from store import schema
from store.engine import closing_engine, transaction
from store.ledger import ledger
from store.releases import assignments, bundles
from store.releases.bundles import BundleStatus
from store.tokens import TokenRole, create_token
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from tests.services.populated import populate

HERE = Path(__file__).parent
ASKED = {"p_t": 0.95, "tokens_in": 40, "entropy": 0.3, "slice": "law"}


def make(version: str, folder: Path) -> None:
    expected: dict[str, object] = {"made_by": version}
    for kind in ProbeKind:
        expected[f"bundle-{kind}-{version}.safetensors"] = _bundle(
            folder / f"bundle-{kind}-{version}.safetensors", kind
        )
    expected["spool"] = _spool(folder, version)
    expected["database"] = _database(folder / f"database-{version}.sqlite.gz")
    (folder / f"expected-{version}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def _bundle(path: Path, kind: ProbeKind) -> dict[str, object]:
    tiers = (runtime_cast.make_tier_models(kind, resampled=kind is ProbeKind.LINEAR),)
    bundle = write_bundle(runtime_cast.make_document(tiers), tiers)
    path.write_bytes(bundle.content)
    hidden = np.random.default_rng(3).normal(size=(8, runtime_cast.DIMENSION)).astype(np.float16)
    shown = [tiers[0].signals(hidden=row, **ASKED) for row in hidden]
    verdicts = [decide(bundle.document.policy, signals) for signals in shown]
    return {
        "id": bundle.id,
        "asked": ASKED,
        "hidden": hidden.astype(float).tolist(),
        "signals": codec.encode(shown),
        "verdicts": codec.encode(verdicts),
    }


def _spool(folder: Path, version: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as kept:
        with Spool(kept) as spool:
            decision = make_decision(cascade="trivia", external_id="golden")
            spool.append(decision)
            label = Labels(spool, "trivia", source="human").add(True, external_id="golden", labelled_at=NOW)
        (segment,) = Path(kept).glob("*.segment")
        shutil.copy(segment, folder / f"spool-{version}.segment")
    return {"name": segment.name, "records": [codec.encode(decision), codec.encode(label)]}


def _database(path: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as kept:
        file = Path(kept) / "database.sqlite"
        with closing_engine(f"sqlite:///{file}") as engine:
            schema.upgrade(engine)
            populate(engine, NOW)
            tiers = (runtime_cast.make_tier_models(),)
            bundle = write_bundle(runtime_cast.make_document(tiers, cascade="trivia"), tiers)
            with transaction(engine) as session:
                document = codec.canonical(bundle.document)
                bundles.add_bundle(session, bundle.id, "trivia", document, bundle.content, BundleStatus.PROMOTED, NOW)
                second = make_assignment(
                    cascade="trivia",
                    generation=2,
                    champion=bundle.id,
                    issued_at=NOW,
                    valid_until=NOW + timedelta(days=1),
                )
                assignments.swap_assignment(session, second, expected_generation=1, now=NOW)
                decision = make_decision(NOW - timedelta(days=8), cascade="trivia", external_id="golden")
                add_decisions(session, [decision], received_at=NOW)
                said = {"cascade": "trivia", "source": LabelSource.HUMAN, "correct": 1.0, "labelled_at": NOW}
                labelled = [Label(external_id=name, **said) for name in ("golden", "not there yet")]
                add_labels(session, labelled, received_at=NOW)
                token = create_token(session, "golden", TokenRole.READ, NOW)
            with transaction(engine) as session:
                ledger.seal(session, now=NOW)
            revision = schema.current(engine)
        with gzip.GzipFile(path, "wb", mtime=0) as packed:
            packed.write(file.read_bytes())
    return {"schema": revision, "token": token, "champion": bundle.id}


if __name__ == "__main__":
    (HERE / sys.argv[1]).mkdir()
    make(sys.argv[1], HERE / sys.argv[1])
