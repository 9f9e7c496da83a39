"""Logs of other systems become history: one call is one attempt, and nothing is guessed."""

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import Engine

from knowgate import Decision, PTKind, Role
from knowgate._deciding.privacy import SecretKey
from services.errors import InputInvalid, TableInvalid
from services.history.import_logs import ImportedLog, import_log, parse_tiers
from services.history.log_formats import FIELDS, FORMATS, LogKind
from services.history.logged_calls import LogSource
from services.outcome_tables.columns import parse_mapping
from services.outcome_tables.times import Zone
from store.engine import reading
from store.traffic import decisions
from tests.services.history.logs import (
    QUESTION,
    SYSTEM,
    batch_input,
    batch_output,
    completion,
    langfuse,
    lines,
    litellm,
    phoenix,
    response,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ASKED_AT = datetime(2026, 2, 1, 0, 0, 0, 500000, tzinfo=UTC)
KEY = SecretKey(b"a hash key for tests")
PARTS = [{"type": "input_text", "text": QUESTION["content"]}]
TIERS = {"tiny": 0, "huge": 1}

pytestmark = pytest.mark.usefixtures("trivia")


def store(
    engine: Engine, kind: str, *files: Path, mapping: str = "", zone: str | None = None, now: datetime = NOW
) -> ImportedLog:
    source = LogSource(
        files=files,
        format=FORMATS[LogKind(kind)],
        tiers=TIERS,
        mapping=parse_mapping(mapping, FIELDS, FIELDS),
        zone=Zone(name=zone),
    )
    return import_log(engine, source, "trivia", key=KEY, now=now)


def stored(engine: Engine, name: str) -> Decision:
    with reading(engine) as session:
        decision = decisions.find_decision(session, "trivia", name)
    assert decision is not None
    return decision


def left_out(done: ImportedLog) -> dict[str, int]:
    return {one.reason: one.calls for one in done.left_out}


def two_tiers(kind: str, tmp_path: Path) -> Path:
    """One question that both tiers answered, as a system logs it."""
    rows: dict[str, Any] = {
        "litellm": [litellm("q", "tiny", "Lima", math.log(0.75)), litellm("q", "huge", "Lima", model_id="x")],
        "langfuse": [
            langfuse(
                "q", "tiny", "Lima", metadata={"logprobs": completion("Lima", math.log(0.75))["choices"][0]["logprobs"]}
            ),
            langfuse("q", "huge", "Lima"),
        ],
        "phoenix": [phoenix("q", "tiny", "Lima", math.log(0.75)), phoenix("q", "huge", "Lima")],
    }
    return lines(tmp_path / f"{kind}.jsonl", rows[kind])


@pytest.mark.parametrize(
    ("kind", "mapping"), [("litellm", ""), ("langfuse", "logprobs=metadata.logprobs"), ("phoenix", "")]
)
def test_a_query_that_two_models_answered_is_one_decision(
    engine: Engine, tmp_path: Path, kind: str, mapping: str
) -> None:
    done = store(engine, kind, two_tiers(kind, tmp_path), mapping=mapping)
    assert (done.decisions, done.rows_read, done.left_out, done.complete) == (1, 2, (), True)
    decision = stored(engine, "q")
    assert decision.occurred_at == ASKED_AT
    small, large = decision.attempts
    assert [(one.tier, one.model, one.role) for one in (small, large)] == [
        (0, "tiny", Role.SUPERSEDED),
        (1, "huge", Role.SERVED),
    ]
    assert small.signals.p_t == pytest.approx(0.75)
    assert small.p_t_kind is PTKind.FIRST_TOKEN
    for one in (small, large):
        assert (one.tokens_in, one.tokens_out, one.cost_usd, one.latency_ms) == (9, 1, 0.25, 250)
        assert one.run_propensity == 1


def test_a_log_imported_again_brings_nothing(engine: Engine, tmp_path: Path) -> None:
    path = two_tiers("litellm", tmp_path)
    assert store(engine, "litellm", path).decisions == 1
    again = store(engine, "litellm", path)
    assert (again.decisions, again.duplicates) == (0, 1)


def test_calls_of_one_query_may_lie_anywhere_and_the_later_answer_of_a_tier_counts(
    engine: Engine, tmp_path: Path
) -> None:
    first = [litellm(f"q{number}", "tiny", "Lima") for number in range(3)]
    retried = litellm("q0", "tiny", "Quito", startTime=1769904009, endTime=1769904010, prompt_tokens=11)
    other = [litellm(f"q{number}", "huge", "Lima") for number in (2, 0)]
    done = store(engine, "litellm", lines(tmp_path / "a.jsonl", [*first, retried]), lines(tmp_path / "b.jsonl", other))
    assert (done.decisions, done.repeated, done.complete) == (3, 1, False)
    assert [one.tokens_in for one in stored(engine, "q0").attempts] == [11, 9]
    assert [one.run_propensity for one in stored(engine, "q2").attempts] == [None, None]
    assert [one.role for one in stored(engine, "q1").attempts] == [Role.SERVED]


def test_two_questions_of_one_trace_are_two_decisions(engine: Engine, tmp_path: Path) -> None:
    other = [SYSTEM, {"role": "user", "content": "And of Chile?"}]
    rows = [
        litellm("q", "tiny", "Lima"),
        litellm("q", "huge", "Lima", messages=[{"role": "system", "content": "Think."}, QUESTION]),
        litellm("q", "tiny", "Santiago", messages=other),
    ]
    done = store(engine, "litellm", lines(tmp_path / "a.jsonl", rows))
    assert (done.decisions, done.repeated) == (2, 0)


def test_rows_of_the_spend_log_are_in_utc_and_need_no_texts(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "spend.csv"
    path.write_text(
        "request_id,call_type,model,spend,prompt_tokens,completion_tokens,startTime,endTime,messages,response\n"
        "r1,acompletion,tiny,0.5,9,1,2026-02-01 00:00:00.5,2026-02-01 00:00:00.75,{},{}\n"
        "r2,aembedding,tiny,0.5,9,0,2026-02-01 00:00:00.5,2026-02-01 00:00:00.75,{},{}\n"
    )
    done = store(engine, "litellm", path)
    assert (done.decisions, left_out(done)) == (1, {"call_type aembedding": 1})
    decision = stored(engine, "r1")
    assert (decision.occurred_at, decision.prompt_hash) == (ASKED_AT, None)
    assert (decision.served.cost_usd, decision.served.signals.p_t, decision.served.answer) == (0.5, None, None)


def test_batches_are_joined_with_the_prompts_that_they_asked(engine: Engine, tmp_path: Path) -> None:
    asked = lines(tmp_path / "in.jsonl", [batch_input(name, f"{name}?") for name in ("a", "b", "c")])
    small = lines(
        tmp_path / "small.jsonl",
        [
            batch_output("b", "tiny", "B", -0.5),
            batch_output("a", "tiny", "A", -0.25),
            batch_output("c", "tiny", "", status=429),
        ],
    )
    large = lines(tmp_path / "large.jsonl", [batch_output(name, "huge", "A") for name in ("a", "b", "c")])
    done = store(engine, "openai", small, asked, large)
    assert (done.decisions, left_out(done)) == (3, {"response.status_code 429": 1})
    first, third = stored(engine, "a"), stored(engine, "c")
    assert first.attempts[0].signals.p_t == pytest.approx(math.exp(-0.25))
    assert first.prompt_hash is not None and first.prompt_hash != third.prompt_hash
    assert [one.tier for one in third.attempts] == [1]


def test_responses_are_read_as_completions_are(engine: Engine, tmp_path: Path) -> None:
    ask = {"model": "tiny", "instructions": "In a word.", "input": [{**QUESTION, "content": PARTS}]}
    of_a_batch = {"response": {"status_code": 200, "body": response("Lima", -0.25)}, "custom_id": "a"}
    cut_off = {"response": {"status_code": 200, "body": response("Li", -0.25, cut_off=True)}, "custom_id": "b"}
    alone = response("Quito", -0.5) | {"input": QUESTION["content"]}
    failed = response("", cut_off=True) | {"id": "f", "status": "failed"}
    call = {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"}
    called = response("Lima", -0.25) | {"output": [*response("Lima", -0.25)["output"], call]}
    refusal = {"type": "refusal", "refusal": "I would rather not."}
    refused = response("", -0.25) | {"output": [{"type": "message", "role": "assistant", "content": [refusal]}]}
    rest = [
        {"response": {"status_code": 200, "body": body}, "custom_id": name}
        for name, body in (("c", called), ("d", refused))
    ]
    asked = [{"custom_id": name, "url": "/v1/responses", "body": ask} for name in ("a", "b", "c", "d")]
    done = store(engine, "openai", lines(tmp_path / "all.jsonl", [*asked, of_a_batch, cut_off, *rest, alone, failed]))
    assert (done.decisions, left_out(done)) == (5, {"status failed": 1})
    first, second, third = (stored(engine, name) for name in ("a", "b", "resp_Quito"))
    assert [stored(engine, name).served.signals.p_t for name in ("c", "d")] == [None, None]
    assert [stored(engine, name).served.note is None for name in ("c", "d")] == [False, False]
    assert [one.served.signals.p_t for one in (first, third)] == pytest.approx([math.exp(-0.25), math.exp(-0.5)])
    assert (first.served.tokens_in, third.served.tokens_out, first.served.note) == (9, 1, None)
    assert second.served.signals.p_t is None and second.served.note is not None
    assert first.prompt_hash == second.prompt_hash == third.prompt_hash  # in parts or in one

    extra = {"call_type": "aresponses", "response": response("Lima", -0.75)}
    assert store(engine, "litellm", lines(tmp_path / "spend.jsonl", [litellm("t", "tiny", "", **extra)])).decisions == 1
    assert stored(engine, "t").served.signals.p_t == pytest.approx(math.exp(-0.75))


def test_a_page_of_an_api_and_a_table_of_spans_are_read_too(engine: Engine, tmp_path: Path) -> None:
    page = tmp_path / "page.json"
    row = langfuse("q", "tiny", "Lima")
    camel = {
        "id": "o",
        "traceId": "p",
        "type": "GENERATION",
        "startTime": "2026-02-01T00:00:00.500Z",
        "endTime": "2026-02-01T00:00:01.500Z",
        "model": "tiny",
        "input": {"messages": [QUESTION]},
        "output": "Lima",
        "usageDetails": {"input": 5, "output": 2},
        "calculatedTotalCost": 0.125,
    }
    page.write_text(json.dumps({"data": [row, camel, {**row, "type": "SPAN"}, {**row, "level": "ERROR"}]}))
    done = store(engine, "langfuse", page)
    assert (done.decisions, left_out(done)) == (2, {"type SPAN": 1, "level ERROR": 1})
    assert stored(engine, "p").served.tokens_out == 2

    table = tmp_path / "spans.parquet"
    message = {"message.role": "user", "message.content": "Why?"}
    columns = {
        "context.trace_id": ["t"],
        "span_kind": ["LLM"],
        "start_time": [ASKED_AT],
        "end_time": [ASKED_AT],
        "attributes.llm.model_name": ["tiny"],
        "attributes.llm.input_messages": [[message]],
        "attributes.llm.output_messages": [[{"message.role": "assistant", "message.content": "So."}]],
        "attributes.llm.token_count.prompt": [math.nan],
        "attributes.llm.token_count.completion": [3.0],
    }
    pyarrow.parquet.write_table(pa.table(columns), table)
    assert store(engine, "phoenix", table).decisions == 1
    served = stored(engine, "t").served
    assert (served.tokens_in, served.tokens_out, served.latency_ms) == (None, 3, 0)
    assert served.answer is not None


def test_a_log_of_ones_own_is_read_by_its_map(engine: Engine, tmp_path: Path) -> None:
    rows = [
        {"ticket": 7, "llm": {"name": model}, "when": when, "said": {"text": "Lima", "sure": 0.5}, "team": "geo"}
        for model, when in (("tiny", 1769904000500), ("huge", "2026-02-01T01:00:00.5"))
    ]
    places = "query_id=ticket,model=llm.name,occurred_at=when,answer=said.text,p_t=said.sure,slice=team"
    path = lines(tmp_path / "own.jsonl", rows)
    assert store(engine, "jsonl", path, mapping=places, zone="Europe/Paris").decisions == 1
    decision = stored(engine, "7")
    assert (decision.occurred_at, decision.slice) == (ASKED_AT, "geo")
    assert [one.signals.p_t for one in decision.attempts] == [0.5, 0.5]


def test_log_probabilities_that_are_none_of_the_model_give_no_p_t(engine: Engine, tmp_path: Path) -> None:
    row = litellm("q", "tiny", "Lima", 0.0)
    listed = row["response"]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    listed[1]["logprob"] = -math.inf
    store(engine, "litellm", lines(tmp_path / "a.jsonl", [row]))
    served = stored(engine, "q").served
    assert served.signals.p_t is None
    assert "no log-probability" in str(served.note)


def test_an_answer_that_calls_tools_or_is_cut_off_has_no_signals(engine: Engine, tmp_path: Path) -> None:
    tools, cut = litellm("tools", "tiny", "", -0.5), litellm("cut", "tiny", "Lim", -0.5)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools["response"]["choices"][0]["message"]["tool_calls"] = [call]
    cut["response"]["choices"][0]["finish_reason"] = "length"
    store(engine, "litellm", lines(tmp_path / "a.jsonl", [tools, cut]))
    for name, note in (("tools", "tool_calls"), ("cut", "length")):
        served = stored(engine, name).served
        assert served.signals.p_t is None
        assert note in str(served.note)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"startTime": "soon"}, r"a.jsonl: line 2: column occurred_at \(startTime\), row 2 is 'soon': .*since 1970"),
        ({"startTime": 12}, "row 2 is 12: .*since 1970"),
        ({"startTime": None}, "occurred_at .*row 2 is empty: say with --map occurred_at=PLACE"),
        ({"startTime": "2026-02-01"}, "a date alone is a whole day"),
        ({"prompt_tokens": "nine"}, "tokens_in .*is 'nine': a finite number"),
        ({"prompt_tokens": 1.5}, "tokens_in .*is 1.5: a whole number"),
        ({"prompt_tokens": -1}, "tokens_in .*is -1: .*at least 0"),
        ({"trace_id": 1.5}, "query_id .*a text is expected"),
        ({"response": {"odd": 1}}, "answer .*--map answer=PLACE"),
        ({"response": {"choices": []}}, "answer .*--map answer=PLACE"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_nothing_is_stored(
    engine: Engine, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    path = lines(tmp_path / "a.jsonl", [litellm("p", "tiny", "Lima"), litellm("q", "tiny", "Lima", **fields)])
    with pytest.raises(TableInvalid, match=words):
        store(engine, "litellm", path)
    with reading(engine) as session:
        assert decisions.find_decision(session, "trivia", "p") is None


def test_a_log_without_any_call_of_the_models_says_whose_there_are(engine: Engine, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [litellm("p", "gpt-4o", "Lima", model_group=None)])
    with pytest.raises(TableInvalid, match=r"no answered call of tiny, huge \(1 × model gpt-4o\)"):
        store(engine, "litellm", path)
    with pytest.raises(TableInvalid, match=r"--map: nothing lies at metadata\.team"):
        store(engine, "litellm", two_tiers("litellm", tmp_path), mapping="slice=metadata.team")


def test_a_decision_of_tomorrow_is_not_imported(engine: Engine, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [litellm("p", "tiny", "Lima", startTime="2026-03-11T00:00:00Z")])
    with pytest.raises(TableInvalid, match="occurred_at of query 'p'"):
        store(engine, "litellm", path)


@pytest.mark.parametrize("text", ["tiny", "=0", "tiny=", "tiny=x", "tiny=32", "tiny=-1"])
def test_a_tier_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputInvalid, match="MODEL=NUMBER"):
        parse_tiers([text])


def test_a_model_is_of_one_tier_and_its_name_may_hold_an_equals_sign(engine: Engine, tmp_path: Path) -> None:
    assert parse_tiers(["m?t=0=1"]) == {"m?t=0": 1}
    with pytest.raises(InputInvalid, match="two tiers"):
        parse_tiers(["tiny=0", "tiny=1"])
    source = LogSource(files=[tmp_path / "none.jsonl"], format=FORMATS[LogKind.LITELLM], tiers={"tiny": 2})
    with pytest.raises(InputInvalid, match="trivia has tiers 0 to 1"):
        import_log(engine, source, "trivia", key=KEY, now=NOW)


@pytest.fixture(scope="module")
def mlflow_traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of traces that the real MLflow made."""
    folder = tmp_path_factory.mktemp("mlflow_traces")
    made = [sys.executable, "-m", "tests.services.history.mlflow_traces", f"sqlite:///{folder / 'm.db'}", str(folder)]
    subprocess.run(made, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["traces.jsonl", "frame.jsonl", "frame.csv"])
def test_traces_of_a_real_mlflow_are_decisions(engine: Engine, mlflow_traces: Path, name: str) -> None:
    done = store(engine, "mlflow", mlflow_traces / name, now=datetime.now(UTC))
    assert (done.rows_read, done.decisions, done.complete) == (2, 2, True)
    assert sum(left_out(done).values()) == 2
    with reading(engine) as session:
        names = list(decisions.external_ids(session, "trivia"))
    assert all(one.startswith("tr-") for one in names)
    small, large = stored(engine, names[0]).attempts
    assert small.signals.p_t == pytest.approx(math.exp(-0.25))
    assert (large.role, large.tokens_in, large.tokens_out) == (Role.SERVED, 9, 1)
    assert large.latency_ms is not None and large.latency_ms > 0
