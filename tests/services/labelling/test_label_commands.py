"""Labels on the command line: graded, drawn within a budget, counted by age, and read
in every way.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from evidence.estimation.label_allocation import LEVEL
from factories import make_decision, make_label
from knowgate._deciding.privacy import Purpose, SecretKey
from knowgate._records.records import Attempt, Decision, Label, LabelSource, Role, Signals, Window
from knowgate._wire.shown import shown_url
from knowgate.policy import Policy, PolicyKind, decide
from knowgate.spec import CascadeSpec, Privacy
from services.command_line import app, exit_code_of
from services.declaration.cascade_file import parse_cascade
from services.labelling.llm_grader import verdict_of
from services.labelling.queue import label_queue
from store.engine import reading, transaction
from store.labelling.graders import graders
from store.ledger.erasure import erase_decision
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels

KEY = "a hash key for tests"
NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=10)
POLICY = Policy.of(PolicyKind.P_T, ({"p_t": 0.6},))
CASCADE = """
name = "trivia"
privacy = "full"
exploration_rate = 0.2
[horizons]
gold = "2d"
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
[[tiers]]
name = "large"
model = "huge"
parameters = 10e9
"""
Run = Callable[..., Any]


@pytest.fixture
def spec() -> CascadeSpec:
    return parse_cascade(CASCADE)


@pytest.fixture
def run(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWGATE_HASH_KEY", KEY)
    monkeypatch.setenv("KNOWGATE_JUDGE_API_KEY", "sk-test")

    def start(*arguments: str, code: int = 0) -> Any:
        command = ["labels", arguments[0], "--cascade", "trivia", *arguments[1:]]
        result = CliRunner().invoke(app, [*command, "--json"])
        found: int | None = result.exit_code
        if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
            found = exit_code_of(result.exception)
        assert found == code, (result.output, result.exception)
        if code == 0:
            return json.loads(result.stdout)
        return result.output if isinstance(result.exception, SystemExit) else str(result.exception)

    return start


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    from store.engine import open_engine

    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


def decided(row: int, p_t: float, *, explored: bool, answers: tuple[str, str], rate: float = 0.2) -> Decision:
    """The small tier is asked, and the large one where it must be or is explored."""
    at = START + timedelta(minutes=10 * row)
    signals = Signals(p_t=p_t)
    verdict = decide(POLICY, signals)
    small = Attempt(
        tier=0,
        role=Role.SERVED if verdict.retained else Role.SUPERSEDED,
        model="tiny",
        signals=signals,
        verdict=verdict,
        answer=answers[0],
        run_propensity=1.0,
    )
    large = Attempt(
        tier=1,
        role=Role.EXPLORATION if verdict.retained else Role.SERVED,
        model="huge",
        answer=answers[1],
        run_propensity=rate if verdict.retained else 1.0,
    )
    ran = (small, large) if explored or not verdict.retained else (small,)
    return make_decision(
        at, cascade="trivia", external_id=f"q{row}", prompt=f"question {row}?", attempts=ran, exploration_rate=rate
    )


@pytest.fixture
def traffic(engine: Engine, spec: CascadeSpec) -> tuple[Decision, ...]:
    """400 questions whose right answer is "yes"; the small tier is right with probability p_t, the
    large one always.
    """
    draw, made = np.random.default_rng(5), []
    for row in range(400):
        p_t = float(draw.uniform(0.3, 1.0))
        small = "yes" if draw.random() < p_t else "no"
        made.append(decided(row, p_t, explored=bool(draw.random() < 0.2), answers=(small, "Yes.")))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        add_decisions(session, made, received_at=NOW)
    return tuple(made)


def gold_label(decision: Decision, *, label_propensity: float) -> Label:
    """What a person says of the answer that was served."""
    return make_label(
        cascade="trivia",
        correct=float(str(decision.served.answer).casefold().startswith("yes")),
        labelled_at=NOW - timedelta(hours=1),
        decision_id=decision.id,
        tier=decision.served.tier,
        label_propensity=label_propensity,
    )


def gold_file(folder: Path, rows: range) -> Path:
    path = folder / "gold.csv"
    path.write_text("external_id,answer\n" + "".join(f"q{row},YES\n" for row in rows))
    return path


def test_answers_are_graded_by_exact_match_once(run: Run, traffic: tuple[Decision, ...], tmp_path: Path) -> None:
    path = gold_file(tmp_path, range(400))
    done = run("grade", "--gold", str(path))
    answers = [attempt.answer for decision in traffic for attempt in decision.attempts]
    assert done["stored"] == done["candidates"] == len(answers)
    assert done["right"] == sum(answer in ("yes", "Yes.") for answer in answers)
    assert (done["source"], done["label_propensity"], done["not_told"]) == ("gold", 1.0, 0)
    assert done["without_answer"] == 0
    assert run("grade", "--gold", str(path))["candidates"] == 0


def test_a_file_that_knows_some_queries_only_gives_labels_of_unknown_propensity(
    run: Run, traffic: tuple[Decision, ...], tmp_path: Path
) -> None:
    done = run("grade", "--gold", str(gold_file(tmp_path, range(100))), "--tier", "0")
    assert (done["stored"], done["not_told"], done["label_propensity"]) == (100, 300, None)
    rows = {row["method"]: row for row in run("estimate")["estimates"] if row["figure"] == "accuracy_cascade"}
    assert "unknown propensity" in rows["self_normalised"]["not_identified"]
    assert rows["naive"]["value"] is not None


def test_an_estimate_from_few_events_has_no_interval_and_says_so(
    run: Run, traffic: tuple[Decision, ...], tmp_path: Path
) -> None:
    run("grade", "--gold", str(gold_file(tmp_path, range(400))))
    lost = sum(d.served.answer == "no" and len(d.attempts) == 2 for d in traffic)
    assert 0 < lost < 20
    rows = {row["method"]: row for row in run("estimate")["estimates"] if row["figure"] == "drop"}
    for method in ("inverse_propensity", "clipped at 20"):
        assert rows[method]["value"] > 0.0
        assert (rows[method]["low"], rows[method]["high"]) == (None, None)
        assert rows[method]["no_interval"] == (
            f"no interval: {lost} of the values seen differ from the others, an honest one takes 20"
        )
    normalised = rows["self_normalised"]
    assert normalised["low"] < normalised["value"] < normalised["high"] and normalised["no_interval"] is None
    shown = CliRunner().invoke(app, ["labels", "estimate", "--cascade", "trivia"]).stdout
    assert f"{lost} of the values seen differ from the others" in shown
    assert "it takes no account of which decisions have their label" in shown  # beside the naive mean


def test_hashed_answers_are_graded_by_their_hashes(run: Run, engine: Engine, spec: CascadeSpec, tmp_path: Path) -> None:
    key = SecretKey(KEY.encode())
    hashed = tuple(key.text_hash(Purpose.ANSWER, text) for text in ("YES", "no"))
    with transaction(engine) as session:
        apply_cascade(session, replace(spec, privacy=Privacy.HASH), now=START)
        add_decisions(session, [decided(0, 0.4, explored=False, answers=(hashed[1], hashed[0]))], received_at=NOW)
    done = run("grade", "--gold", str(gold_file(tmp_path, range(1))))
    assert (done["stored"], done["right"]) == (2, 1)
    run("grade", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", code=3)  # a grader reads texts


class GraderServer(ThreadingHTTPServer):
    """A chat endpoint on loopback, which finds "no" wrong and errs on every tenth question."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.fails_with: int | None = None
        self.reply: str | None = None
        self.raw: bytes | None = None


class _Answering(BaseHTTPRequestHandler):
    server: GraderServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.add(self.headers.get("Authorization"))
        content = body["messages"][0]["content"]
        right = "answer:\nno" not in content
        if "0?" in content:
            right = not right
        reply = self.server.reply or ("Verdict: **Right**" if right else "WRONG.")
        answer = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
        failed = self.server.fails_with
        self.send_response(failed or (200 if self.path == "/v1/chat/completions" else 404))
        self.end_headers()
        self.wfile.write(b"busy" if failed else self.server.raw or answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def grader_server() -> Iterator[GraderServer]:
    with GraderServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def at(grader_server: GraderServer) -> tuple[str, ...]:
    return ("--endpoint", f"http://127.0.0.1:{grader_server.server_address[1]}/v1", "--model", "judge-1")


def test_a_grader_labels_under_its_own_name(
    run: Run, traffic: tuple[Decision, ...], grader_server: GraderServer
) -> None:
    done = run("grade", *at(grader_server), "--tier", "0")
    assert (done["source"], done["stored"], done["label_propensity"]) == ("judge", 400, 1.0)
    assert grader_server.keys == {"Bearer sk-test"}
    assert {(body["model"], body["temperature"]) for body in grader_server.asked} == {("judge-1", 0)}
    assert "question 3?" in grader_server.asked[3]["messages"][0]["content"]


def test_a_reply_without_a_verdict_is_no_label(
    run: Run, traffic: tuple[Decision, ...], grader_server: GraderServer
) -> None:
    grader_server.reply = "I cannot say."
    assert run("grade", *at(grader_server), "--tier", "1")["stored"] == 0
    assert [verdict_of(text) for text in ("right", "No, wrong", "Incorrect.", "")] == [1.0, 0.0, 0.0, None]


def test_a_grader_that_fails_is_told(run: Run, traffic: tuple[Decision, ...], grader_server: GraderServer) -> None:
    grader_server.fails_with = 401
    assert "answered 401: busy" in run("grade", *at(grader_server), code=1)
    assert len(grader_server.asked) == 1
    grader_server.fails_with = 503
    run("grade", *at(grader_server), code=1)
    assert len(grader_server.asked) == 4  # tried again where trying helps
    run("grade", "--endpoint", "nowhere", "--model", "m", code=2)
    run("grade", code=2)


def test_a_grader_is_corrected_by_a_gold_subsample(
    run: Run, engine: Engine, traffic: tuple[Decision, ...], grader_server: GraderServer
) -> None:
    for tier in ("0", "1"):
        run("grade", *at(grader_server), "--tier", tier)
    draw = np.random.default_rng(8)
    gold = [gold_label(decision, label_propensity=0.6) for decision in traffic if draw.random() < 0.6]
    with transaction(engine) as session:
        add_labels(session, gold, received_at=NOW)
    truth = np.mean([str(decision.served.answer).casefold().startswith("yes") for decision in traffic])
    said = run("estimate")
    rows = {row["method"]: row for row in said["estimates"] if row["figure"] == "accuracy_cascade"}
    powered = rows["prediction_powered"]
    assert powered["low"] < truth < powered["high"]
    assert powered["high"] - powered["low"] < rows["self_normalised"]["high"] - rows["self_normalised"]["low"]
    assert powered["known"] == len(gold) == rows["naive"]["known"]
    assert said["judge"]["compared"] == len(gold)
    assert said["judge"]["right_called_wrong"]["value"] == pytest.approx(0.1, abs=0.09)
    by_rates = rows["error_rates"]
    assert by_rates["low"] < truth < by_rates["high"] and by_rates["known"] == len(gold)
    again = run("grade", *at(grader_server))
    assert again["candidates"] == 0
    assert again["grader"].startswith("judge-1@")
    assert again["error"]["right"] + again["error"]["wrong"] == len(gold)  # measured once gold labels are there
    with reading(engine) as session:
        (kept,) = graders(session, "trivia", as_of=datetime.now(UTC))
    assert kept.name == again["grader"] and kept.error is not None  # a measurement that is shown is kept
    counts = ("wrong", "wrong_called_right", "right", "right_called_wrong")
    assert [getattr(kept.error, name) for name in counts] == [again["error"][name] for name in counts]
    open_rows = run("queue", "--rate", "1", "--aim", "accuracy")["answers"]
    labelled = {str(label.decision_id) for label in gold}
    asked = {row["decision_id"] for row in open_rows}
    assert asked - labelled  # what only a grader has labelled still waits for a trusted label
    assert run("waiting")["waiting"] == []
    assert rows["clipped at 20"]["bias_low"] == 0.0  # no weight is above 1 / .6
    assert rows["doubly_robust"]["not_identified"].startswith("no calibrated score")


def erase(engine: Engine, traffic: tuple[Decision, ...]) -> None:
    with transaction(engine) as session:
        for decision in traffic:
            erase_decision(session, decision.id, by="ada", now=NOW)


@pytest.mark.slow
def test_erased_decisions_are_no_candidates_and_spoil_no_figure(
    run: Run, engine: Engine, traffic: tuple[Decision, ...], grader_server: GraderServer, tmp_path: Path
) -> None:
    erase(engine, traffic[::4])
    left = [decision for row, decision in enumerate(traffic) if row % 4]
    for grader in (("--gold", str(gold_file(tmp_path, range(400)))), at(grader_server)):
        done = run("grade", *grader)
        assert done["candidates"] == done["stored"] == sum(len(decision.attempts) for decision in left)
        assert (done["without_answer"], done["label_propensity"]) == (0, 1.0)
    truth = np.mean([str(decision.served.answer).casefold().startswith("yes") for decision in left])
    rows = {row["method"]: row for row in run("estimate")["estimates"] if row["figure"] == "accuracy_cascade"}
    for method in ("naive", "inverse_propensity", "self_normalised", "prediction_powered"):
        assert rows[method]["not_identified"] is None
        assert rows[method]["value"] == pytest.approx(truth)
        assert (rows[method]["decisions"], rows[method]["erased"]) == (300, 100)


@pytest.mark.slow
def test_an_erasure_moves_no_figure_of_what_was_labelled_before(
    run: Run, engine: Engine, traffic: tuple[Decision, ...], grader_server: GraderServer, tmp_path: Path
) -> None:
    for grader in (("--gold", str(gold_file(tmp_path, range(400)))), at(grader_server)):
        run("grade", *grader)
    before = run("estimate")["estimates"]
    erase(engine, traffic[::4])
    assert run("estimate")["estimates"] == before


def test_a_grader_needs_no_label_of_what_was_erased(
    run: Run, engine: Engine, traffic: tuple[Decision, ...], grader_server: GraderServer
) -> None:
    """Gold labels were drawn by coin before the erasure, and the grader came after it."""
    gold = [gold_label(decision, label_propensity=0.5) for decision in traffic[::2]]
    with transaction(engine) as session:
        add_labels(session, gold, received_at=NOW)
    erase(engine, traffic[::4])
    run("grade", *at(grader_server))
    rows = {row["method"]: row for row in run("estimate")["estimates"] if row["figure"] == "accuracy_cascade"}
    powered, normalised = rows["prediction_powered"], rows["self_normalised"]
    assert powered["not_identified"] is None
    assert (powered["decisions"], powered["erased"], powered["known"]) == (300, 100, 100)
    assert (normalised["decisions"], normalised["erased"], normalised["known"]) == (400, 0, 200)


@pytest.mark.parametrize("url", ["http://[::1", "http://h:abc/v1", "HTTP://h", "http://", "http://...", "http://a b"])
def test_a_grader_at_no_address_is_refused_before_it_is_asked(run: Run, url: str) -> None:
    assert run("grade", "--endpoint", url, "--model", "m", code=2) == (
        f"--endpoint is {shown_url(url)!r}: an http:// or https:// address is expected, e.g. http://host:8000/v1"
    )
    message = run("grade", "--endpoint", "http://h/v1?key=hunter2", "--model", "m", code=2)
    assert "hunter2" not in message and "KNOWGATE_JUDGE_API_KEY" in message
    message = run("grade", "--endpoint", "http://user:hunter2@h/v1", "--model", "m", code=2)
    assert "KNOWGATE_JUDGE_API_KEY" in message and "hunter2" not in message


def test_a_grader_that_nests_beyond_reading_gives_no_verdict(
    run: Run, traffic: tuple[Decision, ...], grader_server: GraderServer
) -> None:
    grader_server.raw = b"[" * 100_000
    day = (START + timedelta(hours=1)).isoformat(timespec="seconds")
    done = run("grade", *at(grader_server), "--end", day, "--tier", "0")
    assert (done["candidates"], done["stored"], done["not_told"]) == (6, 0, 6)


@pytest.mark.slow
def test_a_graders_rates_are_printed_for_people(
    run: Run, traffic: tuple[Decision, ...], grader_server: GraderServer, tmp_path: Path
) -> None:
    for grader in (("--gold", str(gold_file(tmp_path, range(400)))), at(grader_server)):
        run("grade", *grader)
    printed = CliRunner().invoke(app, ["labels", "estimate", "--cascade", "trivia"]).stdout
    assert re.search(r"\b0\.\d+ \(0\.\d+ to 0\.\d+\) +0\.\d+ \(0\.\d+ to 0\.\d+\) +400", printed)
    assert "{" not in printed


def test_the_weighted_drop_is_right_where_the_naive_one_is_not(
    run: Run, engine: Engine, traffic: tuple[Decision, ...]
) -> None:
    """Explored rows are labelled half as often as escalated ones, and a retained answer is explored
    1 time in 5.
    """
    draw, labels = np.random.default_rng(9), []
    for decision in traffic:
        chance = 0.5 if decision.served.tier == 0 else 1.0
        if draw.random() >= chance:
            continue
        labels += [
            make_label(
                cascade="trivia",
                source=LabelSource.HUMAN,
                correct=float(str(attempt.answer).casefold().startswith("yes")),
                labelled_at=NOW - timedelta(hours=1),
                decision_id=decision.id,
                tier=attempt.tier,
                label_propensity=chance,
            )
            for attempt in decision.attempts
        ]
    with transaction(engine) as session:
        add_labels(session, labels, received_at=NOW)
    truth = np.mean([decision.served.answer == "no" for decision in traffic])
    rows = {row["method"]: row for row in run("estimate")["estimates"] if row["figure"] == "drop"}
    assert rows["self_normalised"]["low"] < truth < rows["self_normalised"]["high"]
    assert rows["naive"]["value"] < truth / 2
    assert rows["clipped at 20"]["bias_low"] <= 0.0 <= rows["clipped at 20"]["bias_high"]
    narrow = {row["method"]: row for row in run("estimate", "--largest-weight", "2")["estimates"]}
    assert narrow["clipped at 2"]["bias_low"] < 0.0


def test_an_immature_cohort_says_so(run: Run, traffic: tuple[Decision, ...]) -> None:
    day = (START + timedelta(days=1)).isoformat(timespec="seconds")
    assert run("estimate", "--end", day)["mature"] is True
    assert run("estimate")["mature"] is False
    assert run("estimate", "--end", day, "--as-of", (START + timedelta(days=2)).isoformat())["mature"] is False


@pytest.mark.slow
def test_delay_curves_know_how_long_each_answer_has_been_watched(run: Run, engine: Engine, spec: CascadeSpec) -> None:
    """Half of the answers get a gold label after 30 hours; as of hour 66 most have not been watched
    for so long.
    """
    as_of = START + timedelta(hours=66)
    made = [decided(row, 0.9, explored=False, answers=("yes", "yes")) for row in range(396)]
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        for decision in made:
            add_decisions(session, [decision], received_at=decision.occurred_at)
        for decision in made[::2]:
            when = decision.occurred_at + timedelta(hours=30)
            label = make_label(cascade="trivia", labelled_at=when, decision_id=decision.id)
            add_labels(session, [label], received_at=when)
    said = run("delays", "--end", as_of.isoformat(), "--as-of", as_of.isoformat())["delays"]
    points = {row["age"]: row for row in said}
    assert {row["source"] for row in said} == {"gold"}
    assert points["1d"]["share"] == 0.0
    assert points["2d"]["share"] == pytest.approx(0.5, abs=0.02)  # of all labels, a quarter are in
    assert points["2d"]["horizon"] and points["2d"]["awaited"] and points["2d"]["of_horizon"] == 1.0
    assert points["2d"]["low"] < points["2d"]["share"] < points["2d"]["high"]
    assert points["2d"]["watched"] < 396
    assert points["7d"]["share"] is None  # nothing is so old


def test_explored_rows_are_drawn_first_and_what_tells_of_accuracies_alone_with_a_quarter(
    run: Run, engine: Engine, spec: CascadeSpec, traffic: tuple[Decision, ...]
) -> None:
    by_id = {str(decision.id): decision for decision in traffic}
    rows = run("queue", "--rate", "0.1")["answers"]
    chances: dict[str, set[float]] = {"explored": set(), "escalated": set(), "other": set()}
    for row in rows:
        chances[kind_of(by_id[row["decision_id"]])].add(row["label_propensity"])
    assert chances == {"explored": {0.5}, "escalated": {0.1}, "other": {0.025}}
    everything = run("queue", "--rate", "1")["answers"]
    known = {row["decision_id"] for row in everything if row["label_propensity"] == 1.0}
    assert known == {name for name, decision in by_id.items() if kind_of(decision) != "other"}
    of_accuracy = run("queue", "--rate", "0.1", "--aim", "accuracy")["answers"]
    assert {row["label_propensity"] for row in of_accuracy} == {0.1}


def kind_of(decision: Decision) -> str:
    """Explored or escalated where the last tier ran and answered otherwise; other else."""
    if len({attempt.answer for attempt in decision.attempts}) < 2:
        return "other"
    return "explored" if decision.served.tier == 0 else "escalated"


def test_a_budget_costs_what_it_says_at_one_rate_for_every_kind_of_row(
    engine: Engine, spec: CascadeSpec, traffic: tuple[Decision, ...]
) -> None:
    window = Window(start=START - timedelta(days=1), end=NOW)
    by_id = {decision.id: decision for decision in traffic}
    counts, rates = [], set()
    with reading(engine) as session:
        for key in range(25):
            coin = f"another key {key:04}".encode()
            rows = label_queue(session, "trivia", window, as_of=NOW, key=coin, budget=50)
            counts.append(len({row.decision_id for row in rows}))
            worth = {"explored": 5.0, "escalated": 1.0, "other": 0.25}
            rates |= {round(row.label_propensity / worth[kind_of(by_id[row.decision_id])], 9) for row in rows}
    assert len(rates) == 1  # no chance was cut at 1
    assert abs(np.mean(counts) - 50) < 5 * np.sqrt(50 / 25)


def test_the_logged_chances_are_those_that_were_used_so_that_weighted_means_stay_true(
    engine: Engine, spec: CascadeSpec
) -> None:
    """Of fifty draws the mean of the weighted means is what all labels would have said, of kept
    answers and of the drop, to within four Monte-Carlo errors; weighed alike, they are far off.
    """
    draw, made = np.random.default_rng(11), []
    for row in range(300):
        p_t, alike = float(draw.uniform(0.3, 1.0)), bool(draw.random() < 0.4)
        answers = ("yes", "yes") if alike else ("yes" if draw.random() < 0.5 * p_t else "no", "Yes.")
        made.append(decided(row, p_t, explored=bool(draw.random() < 0.2), answers=answers))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        add_decisions(session, made, received_at=NOW)
    right = np.array([str(one.served.answer) != "no" for one in made], dtype=float)
    at = {one.id: row for row, one in enumerate(made)}
    explored = np.array([kind_of(one) == "explored" for one in made])
    weighted, alike_weighted, drops = [], [], []
    with reading(engine) as session:
        for key in range(50):
            rows = label_queue(
                session,
                "trivia",
                Window(start=START - timedelta(days=1), end=NOW),
                as_of=NOW,
                key=f"another key {key:04}".encode(),
                rate=0.15,
            )
            chance = np.full(300, np.inf)
            chance[[at[row.decision_id] for row in rows]] = [row.label_propensity for row in rows]
            weighted.append(np.mean(right / chance))
            alike_weighted.append(right[np.isfinite(chance)].mean())
            drops.append(np.mean(explored * (1.0 - right) / chance / 0.2))
    for means, truth in ((weighted, right.mean()), (drops, np.mean(explored * (1.0 - right) / 0.2))):
        assert np.mean(means) == pytest.approx(truth, abs=4 * np.std(means) / np.sqrt(50))
    assert abs(np.mean(alike_weighted) - right.mean()) > 8 * np.std(alike_weighted) / np.sqrt(50)


def test_answers_that_agree_are_drawn_seldom_whatever_they_say(engine: Engine, spec: CascadeSpec) -> None:
    made = [decided(row, 0.9, explored=True, answers=(f"answer {row}", f"answer {row}")) for row in range(200)]
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        add_decisions(session, made, received_at=NOW)
    window = Window(start=START - timedelta(days=1), end=NOW)
    with reading(engine) as session:
        rows = label_queue(session, "trivia", window, as_of=NOW, key=b"a key of its own", rate=0.5)
    assert rows and {row.label_propensity for row in rows} == {0.5 * LEVEL}


def test_rate_or_budget_and_no_limit_on_a_budget(run: Run, traffic: tuple[Decision, ...]) -> None:
    assert "--rate" in run("queue", "--rate", "0.5", "--budget", "5", code=2)
    assert run("queue")["answers"] == run("queue", "--rate", "0.2")["answers"]  # the exploration rate
    for drawn in (("--budget", "5"), ("--rate", "0.5")):
        assert "No such option" in run("queue", *drawn, "--limit", "2", code=2)


def test_a_queue_that_people_may_have_filled_in_is_not_overwritten(
    run: Run, traffic: tuple[Decision, ...], tmp_path: Path
) -> None:
    out = tmp_path / "queue.csv"
    out.write_text("filled in")
    message = run("queue", "--rate", "0.5", "--out", str(out), code=2)
    assert message.startswith(f"--out is {out}: that file is there")
    assert out.read_text() == "filled in"
