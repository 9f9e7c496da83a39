"""Which answers the queue asks for, and which ids a waiting label may have meant."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factories import make_decision, make_label
from knowgate import new_id
from knowgate._records.records import Action, Attempt, Decision, LabelSource, Reason, Role, Verdict, Window
from knowgate.spec import CascadeSpec, Privacy
from services.command_line import app
from services.declaration.cascade_file import parse_cascade
from services.labelling.aim import Aim
from services.labelling.candidates import candidates
from services.labelling.near_misses import near_misses
from services.labelling.queue import label_coin, label_queue
from store.engine import open_engine, reading, transaction
from store.ledger.erasure import erase_decision
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels

KEY = "a hash key for tests"
NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=2)
CASCADE = """
name = "trivia"
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
[[tiers]]
name = "large"
model = "huge"
parameters = 10e9
"""


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def spec(engine: Engine) -> CascadeSpec:
    declared = parse_cascade(CASCADE)
    with transaction(engine) as session:
        apply_cascade(session, declared, now=START)
    return declared


@pytest.fixture
def run(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: CascadeSpec) -> Callable[..., Any]:
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWGATE_HASH_KEY", KEY)

    def start(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["labels", arguments[0], *arguments[1:], "--cascade", "trivia"])
        assert result.exit_code == 0, (result.output, result.exception)
        return result

    return start


def decided(row: int, name: str | None = None, *, models: tuple[str, str] = ("tiny", "huge")) -> Decision:
    at = START + timedelta(minutes=row)
    small = Attempt(tier=0, role=Role.SERVED, model=models[0], answer=f"s{row}", run_propensity=1.0)
    large = Attempt(tier=1, role=Role.EXPLORATION, model=models[1], answer=f"l{row}", run_propensity=0.5)
    return make_decision(
        at, cascade="trivia", external_id=name or f"q{row}", attempts=(small, large), exploration_rate=0.5
    )


def store(engine: Engine, *sent: Decision) -> None:
    with transaction(engine) as session:
        assert len(add_decisions(session, sent, received_at=NOW).stored) == len(sent)


def drawn(engine: Engine, **options: Any) -> list[tuple[str | None, int, float]]:
    window = Window(start=START - timedelta(hours=1), end=NOW)
    with reading(engine) as session:
        rows = label_queue(session, "trivia", window, as_of=NOW, key=KEY.encode(), **options)
    return [(row.external_id, row.tier, row.label_propensity) for row in rows]


def test_only_answers_that_teach_are_drawn(engine: Engine, spec: CascadeSpec) -> None:
    plain, half, done, gone = decided(0), decided(1), decided(2), decided(3)
    astray, aside = decided(4, models=("other", "huge")), decided(5, models=("tiny", "other"))
    store(engine, plain, half, done, gone, astray, aside)
    said = [(half, 0), (done, 0), (done, 1)]
    with transaction(engine) as session:
        labels = [
            make_label(cascade="trivia", source=LabelSource.HUMAN, labelled_at=NOW, decision_id=one.id, tier=tier)
            for one, tier in said
        ]
        assert add_labels(session, labels, received_at=NOW).stored == 3
        erase_decision(session, gone.id, by="ada", now=NOW)
    assert [row for row in drawn(engine, rate=1.0) if row[0] != "q5"] == [
        ("q0", 0, 1.0),
        ("q0", 1, 1.0),
        ("q1", 1, 1.0),
    ]
    everything = drawn(engine, rate=1.0, aim=Aim.ACCURACY)
    assert everything == [("q0", 0, 1.0), ("q0", 1, 1.0), ("q1", 1, 1.0), ("q5", 0, 1.0)]


def test_a_skipped_tier_has_no_answer_to_label_and_one_that_answered_to_teach_is_drawn_first(
    engine: Engine, spec: CascadeSpec
) -> None:
    ended = Verdict(action=Action.ESCALATE, reason=Reason.P_IK)
    last = Attempt(tier=1, role=Role.SERVED, model="huge", answer="large", run_propensity=1.0)
    first = Attempt(tier=0, role=Role.SKIPPED, model="tiny", verdict=ended, run_propensity=0.25)
    answered = replace(first, role=Role.EXPLORATION, answer="small")
    skipped, explored = (replace(decided(row), attempts=(one, last)) for row, one in enumerate((first, answered)))
    store(engine, skipped, explored)
    chances = {(name, tier): chance for name, tier, chance in drawn(engine, rate=0.25, aim=Aim.DROP)}
    assert {key: chance for key, chance in chances.items() if key[0] == "q1"} == {("q1", 0): 1.0, ("q1", 1): 1.0}
    assert drawn(engine, rate=1.0, aim=Aim.ACCURACY) == [("q0", 1, 1.0), ("q1", 0, 1.0), ("q1", 1, 1.0)]
    with reading(engine) as session:
        graded = candidates(session, "trivia", Window(start=START, end=NOW), as_of=NOW, source=LabelSource.JUDGE)
    assert [(one.external_id, one.tier) for one in graded] == [("q0", 1), ("q1", 0), ("q1", 1)]


def test_a_decision_that_says_nothing_of_the_drop_is_drawn_for_accuracies_alone(
    engine: Engine, spec: CascadeSpec
) -> None:
    whole = [decided(row) for row in range(40)]
    aside = [decided(row, models=("tiny", "other")) for row in range(40, 80)]
    store(engine, *whole, *aside)
    names = {one.external_id for one in whole}
    chances = {name: chance for name, _, chance in drawn(engine, rate=0.5)}
    assert names <= chances.keys() and {chances[name] for name in names} == {1.0}  # .5 over their run's .5
    assert {chances[name] for name in chances.keys() - names} == {0.125}
    assert {chance for _, _, chance in drawn(engine, budget=40.0, aim=Aim.ACCURACY)} == {0.5}


def test_the_queue_of_a_window_without_decisions_is_empty(engine: Engine, spec: CascadeSpec) -> None:
    assert drawn(engine, rate=1.0) == []


def test_the_coin_of_a_decision_is_fixed_and_uniform() -> None:
    ids = [new_id(START + timedelta(seconds=row)) for row in range(4000)]
    coins = [label_coin(b"a", one) for one in ids]
    assert coins == [label_coin(b"a", one) for one in ids] != [label_coin(b"b", one) for one in ids]
    assert all(0.0 <= coin < 1.0 for coin in coins)
    assert sum(coin < 0.25 for coin in coins) / 4000 == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        (Privacy.HASH, "prompts are not stored and answers are keyed hashes"),
        (Privacy.NEVER, "prompts are not stored and answers are not stored"),
        (Privacy.FULL, ""),
    ],
)
def test_a_row_of_the_queue_names_its_query_whatever_is_stored_of_it(
    engine: Engine, spec: CascadeSpec, run: Callable[..., Any], tmp_path: Path, privacy: Privacy, message: str
) -> None:
    with transaction(engine) as session:
        apply_cascade(session, replace(spec, privacy=privacy), now=START)
    store(engine, decided(0, "ticket-7"))
    out = tmp_path / "queue.csv"
    result = run("queue", "--rate", "1", "--out", str(out))
    assert message in result.stderr and ("find the texts" in result.stderr) == bool(message)
    head, *rows = out.read_text().splitlines()
    assert head.startswith('"decision_id","external_id","tier"')
    assert len(rows) == 2 and all(',"ticket-7",' in row for row in rows)
    listed = json.loads(run("queue", "--rate", "1", "--json").stdout)["answers"]
    assert {row["external_id"] for row in listed} == {"ticket-7"}
    out.write_text("\n".join([head, *(row.replace(",,1", ",0.5,1") for row in rows)]) + "\n")
    done = run("import", str(out), "--source", "human", "--labelled-at", NOW.isoformat(), "--json")
    assert json.loads(done.stdout)["stored"] == 2


@pytest.mark.parametrize(
    ("waiting", "stored", "differ_by"),
    [
        ("cafe\u0301", "caf\u00e9", "Unicode form"),
        (" 7", "7", "spaces"),
        ("7\u00a0", "7", "spaces"),
        ("7", "7 ", "spaces"),
        ("\u200bq-1", "q-1", "invisible characters"),
        ("\ufeffq-1", "q-1", "invisible characters"),
        ("Q-1", "q-1", "case"),
        ("007", "7", "zeros"),
        ("7.0", "7", "zeros"),
        ("1.23457E+15", "1234567890123456", "scientific notation"),
        ("1,23E+15", "1234567890123456", "scientific notation"),
        ("1.2E+03", "1204", "scientific notation"),
        (" Q-1", "q-1", "spaces and case"),
        ("7\t", "7", "spaces"),
        ("7\n", "7", "spaces"),
        ("a\u00a0b", "a b", "spaces"),
        ("fix", "\ufb01x", "Unicode form"),
        ("\u0667", "7", "Unicode form"),
        ("'7", "7", "quotes"),
        ('"7"', "7", "quotes"),
        ("x\u20137", "x-7", "dashes"),
        ("1,234,567", "1234567", "separators of thousands"),
        ("1.5", "1.50", "zeros"),
    ],
)
def test_an_id_that_looks_like_a_stored_one_is_named_with_what_tells_them_apart(
    waiting: str, stored: str, differ_by: str
) -> None:
    (pair,) = near_misses({waiting, "elsewhere"}, [stored, "q-2", "8", "9876543210987654"])
    assert (pair.waiting, pair.stored, pair.differ_by) == (waiting, stored, differ_by)


@pytest.mark.parametrize(
    ("waiting", "stored"),
    [
        ("7", "70"),
        ("q-1", "q1"),
        ("1.23457E+15", "1234667890123456"),
        ("10", "1"),
        ("a b", "ab"),
        ("1.05", "1.5"),
        ("1,23", "123"),
        ("100", "1000"),
        ("0", "00x"),
    ],
)
def test_ids_that_merely_resemble_each_other_are_two(waiting: str, stored: str) -> None:
    assert near_misses({waiting}, [stored]) == ()


def test_waiting_labels_name_the_ids_that_may_be_meant(engine: Engine, run: Callable[..., Any], tmp_path: Path) -> None:
    store(engine, decided(0, "7"), decided(1, "caf\u00e9"), decided(2, "None"), decided(3, "1234567890123456"))
    path = tmp_path / "labels.csv"
    path.write_text("external_id,correct\n 7,1\ncafe\u0301,1\nNone,1\nnull,1\n1.23457E+15,0\n", encoding="utf-8")
    done = run("import", str(path), "--source", "human", "--labelled-at", NOW.isoformat(), "--json")
    assert {name: json.loads(done.stdout)[name] for name in ("rows_read", "lines_in_file", "stored", "waiting")} == {
        "rows_read": 5,
        "lines_in_file": 6,
        "stored": 1,
        "waiting": 4,
    }
    listed = json.loads(run("waiting", "--json").stdout)
    assert [(row["reason"], row["labels"]) for row in listed["waiting"]] == [(None, 4)]
    assert [(row["waiting"], row["stored"]) for row in listed["near_misses"]] == [
        (" 7", "7"),
        ("1.23457E+15", "1234567890123456"),
        ("cafe\u0301", "caf\u00e9"),
    ]
    shown = run("waiting").stdout
    assert r"'cafe\u0301'" in shown and r"'caf\xe9'" in shown and "scientific notation" in shown


def test_an_import_says_how_many_lines_are_no_row_of_their_own(
    engine: Engine, run: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('external_id,correct,note\n7,1,"a\n8: wrong\n9, right"\n', encoding="utf-8")
    done = run("import", str(path), "--source", "human", "--labelled-at", NOW.isoformat())
    assert "labels.csv: 1 rows read, 4 lines in the file: 2 lie within quoted texts or are empty" in done.stderr
