"""Labels that other systems gathered keep who said them, when they were revised, and what they are
of.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from knowgate import LabelSource
from services.command_line import app, exit_code_of
from store.engine import reading
from store.traffic import decisions
from store.traffic.labels import StoredLabel, labels_of
from tests.services.history.logs import annotation, langfuse, lines, phoenix, score

Run = Callable[..., Result]
SAID_AT = datetime(2026, 2, 2, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"

pytestmark = pytest.mark.usefixtures("trivia")


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the cascade; `code` is how it is to end."""
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", database_url)
    monkeypatch.setenv("KNOWGATE_HASH_KEY", "a hash key for tests")

    def start(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*map(str, arguments), "--cascade", "trivia", "--json"])
        ended = result.exit_code if result.exit_code in (0, 1) and code == 1 else exit_code_of(result.exception)  # type: ignore[arg-type]
        ended = result.exit_code if ended is None else ended
        assert ended == code, (result.output, result.exception)
        return result

    return start


def stored(engine: Engine, name: str) -> dict[tuple[int, str], StoredLabel]:
    """The labels of a query's answers, by tier and source; of several the newest."""
    with reading(engine) as session:
        decision = decisions.find_decision(session, "trivia", name)
        assert decision is not None
        said = labels_of(session, decision.id)
    return {(one.tier, one.source.value): one for one in sorted(said, key=lambda one: one.labelled_at)}


def import_calls(run: Run, kind: str, path: Path) -> None:
    run("import", path, "--from", kind, "--tier", "tiny=0", "--tier", "huge=1")


def test_scores_of_traces_and_of_observations_find_their_answers(run: Run, engine: Engine, tmp_path: Path) -> None:
    import_calls(
        run, "langfuse", lines(tmp_path / "calls.jsonl", [langfuse(TRACE, name, "Lima") for name in ("tiny", "huge")])
    )
    rows = [
        score("s1", TRACE, 1),
        score(
            "s2", TRACE, None, observation_id=f"{TRACE}-tiny", string_value="False", source="EVAL", author_user_id=None
        ),
        score("s3", TRACE, 0.25, source="API"),
        score("s4", TRACE, 3, name="stars"),
        score("s5", "elsewhere", 1),
    ]
    arguments = ("labels", "import", lines(tmp_path / "scores.jsonl", rows), "--from", "langfuse")
    assert "--name" in str(run(*arguments, code=2).exception)
    done = json.loads(run(*arguments, "--name", "correctness").stdout)
    assert (done["stored"], done["waiting"], done["left_out"]) == (3, 1, {"named stars": 1})
    said = stored(engine, TRACE)
    assert {key: one.correct for key, one in said.items()} == {(1, "human"): 1, (0, "judge"): 0, (1, "feedback"): 0.25}
    human = said[1, "human"]
    assert (human.grader, human.origin, human.labelled_at) == ("jane", "langfuse:s1", SAID_AT)
    again = json.loads(run(*arguments, "--name", "correctness").stdout)
    assert (again["stored"], again["waiting"], again["duplicates"]) == (0, 0, 4)


def test_a_score_that_was_changed_supersedes_what_it_was(run: Run, engine: Engine, tmp_path: Path) -> None:
    import_calls(run, "langfuse", lines(tmp_path / "calls.jsonl", [langfuse(TRACE, "huge", "Lima")]))
    for value, day in ((0, 2), (1, 3)):
        row = score("s1", TRACE, value, updated_at=f"2026-02-0{day} 00:00:00")
        run("labels", "import", lines(tmp_path / "scores.jsonl", [row]), "--from", "langfuse")
    assert stored(engine, TRACE)[1, "human"].correct == 1


def test_annotations_are_of_the_span_that_they_name(run: Run, engine: Engine, tmp_path: Path) -> None:
    calls = [
        phoenix(TRACE, "tiny", "Lima", context={"trace_id": TRACE, "span_id": "aaaaaaaaaaaaaaaa"}),
        phoenix(TRACE, "huge", "Lima", context={"trace_id": TRACE, "span_id": "bbbbbbbbbbbbbbbb"}),
    ]
    import_calls(run, "phoenix", lines(tmp_path / "calls.jsonl", calls))
    rows = [
        annotation("aaaaaaaaaaaaaaaa"),
        annotation("bbbbbbbbbbbbbbbb", annotator_kind="LLM", result={"label": "dubious", "score": None}, identifier=""),
        annotation("cccccccccccccccc"),
    ]
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": rows, "next_cursor": None}))
    arguments = ("labels", "import", path, "--from", "phoenix")
    assert "--value dubious=NUMBER" in str(run(*arguments, code=2).exception)
    result = run(*arguments, "--value", "dubious=0.5", code=1)
    assert json.loads(result.stdout)["stored"] == 2
    assert "page.json: row 3 (line 1): span_id is cccccccccccccccc: no stored run has this span" in result.stderr
    said = stored(engine, TRACE)
    assert (said[0, "human"].correct, said[0, "human"].origin) == (1, "phoenix:U3Bhbg==")
    assert said[0, "human"].labelled_at == datetime(2026, 2, 3, tzinfo=UTC)
    assert (said[1, "judge"].correct, said[1, "judge"].grader) == (0.5, None)


def test_a_label_of_a_trace_waits_for_its_decision(run: Run, engine: Engine, tmp_path: Path) -> None:
    labels = lines(tmp_path / "scores.jsonl", [score("s1", TRACE, 1)])
    assert json.loads(run("labels", "import", labels, "--from", "langfuse").stdout)["waiting"] == 1
    import_calls(run, "langfuse", lines(tmp_path / "calls.jsonl", [langfuse(TRACE, "huge", "Lima")]))
    assert stored(engine, TRACE)[1, "human"].origin == "langfuse:s1"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 4}, r"a.jsonl: line 1: column correct \(value\), row 1 is 4: .*--value 4=NUMBER"),
        ({"value": "fine"}, "--value fine=NUMBER"),
        ({"trace_id": None}, "trace_id .*is empty: say with --map trace_id=PLACE"),
        ({"updated_at": None, "timestamp": None}, "labelled_at .*--labelled-at for all"),
        ({"updated_at": "yesterday"}, "labelled_at .*is 'yesterday'"),
        ({"source": "ROBOT"}, "column source, .*is 'ROBOT': one of ANNOTATION, EVAL, API"),
        ({"author_user_id": "x" * 201}, "1 to 200 characters"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(run: Run, tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = lines(tmp_path / "a.jsonl", [score("s1", TRACE, 1, **fields)])
    assert re.search(words, str(run("labels", "import", path, "--from", "langfuse", code=2).exception))


def test_who_said_it_may_be_said_for_all(run: Run, engine: Engine, tmp_path: Path) -> None:
    import_calls(run, "langfuse", lines(tmp_path / "calls.jsonl", [langfuse(TRACE, "huge", "Lima")]))
    path = lines(tmp_path / "a.jsonl", [score("s1", TRACE, 1, source="ROBOT")])
    run("labels", "import", path, "--from", "langfuse", "--map", "source=", "--source", "gold")
    assert list(stored(engine, TRACE)) == [(1, LabelSource.GOLD)]
    assert "--name and --value" in str(run("labels", "import", path, "--name", "x", code=2).exception)
    assert "--value is 'good'" in str(
        run("labels", "import", path, "--from", "langfuse", "--value", "good", code=2).exception
    )


@pytest.mark.slow
def test_assessments_of_a_real_mlflow_keep_person_judge_and_check(run: Run, engine: Engine, tmp_path: Path) -> None:
    made = [sys.executable, "-m", "tests.services.history.mlflow_traces", f"sqlite:///{tmp_path / 'm.db'}"]
    subprocess.run([*made, str(tmp_path)], check=True, capture_output=True)
    import_calls(run, "mlflow", tmp_path / "traces.jsonl")
    arguments = ("--from", "mlflow", "--name", "correctness")
    done = json.loads(run("labels", "import", tmp_path / "traces.jsonl", *arguments).stdout)
    assert (done["stored"], done["waiting"], done["rejected"]) == (6, 0, 0)
    assert done["left_out"] == {"valid False": 2, "named tone": 2, "named expected_response": 2}
    with reading(engine) as session:
        names = list(decisions.external_ids(session, "trivia"))
    for name in names:
        said = stored(engine, name)
        assert {key: (one.correct, one.grader) for key, one in said.items()} == {
            (1, "human"): (1, "jane"),
            (0, "judge"): (0, "openai:/gpt-4o-mini"),
            (1, "judge"): (0.5, "exact_match"),
        }
        assert all(str(one.origin).startswith("mlflow:a-") for one in said.values())
    for other in ("frame.jsonl", "frame.csv"):
        again = json.loads(run("labels", "import", tmp_path / other, *arguments).stdout)
        assert (again["stored"], again["duplicates"]) == (0, 6)
