"""A real HTTP server on loopback speaks chat completions: answers, probabilities, tokens, and
failures.
"""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from benchmarks.paper.catalogue import model_named
from benchmarks.paper.endpoint import Endpoint, answer_by_endpoint
from benchmarks.paper.errors import PaperError
from benchmarks.paper.questions import Question, choice_question, open_question

CHOICE = choice_question("mmlu", "maths", "2 + 2?", ["3", "4", "5", "6"], 1)
OPEN = open_question("popqa", "capital", "Capital of France?", ["Paris"])
Answers = Callable[[dict[str, Any], int], tuple[int, Any]]


@contextmanager
def serving(answers: Answers) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """`answers(body, call)` gives status and document; what was asked is kept."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "path": self.path, "authorization": self.headers["Authorization"]})
            status, document = answers(body, len(asked))
            encoded = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str, tokens: list[tuple[str, float]] | None) -> dict[str, Any]:
    listed = None if tokens is None else {"content": [{"token": t, "logprob": math.log(p)} for t, p in tokens]}
    return {
        "choices": [{"message": {"content": text}, "logprobs": listed}],
        "usage": {"prompt_tokens": 31, "completion_tokens": len(tokens or [1])},
    }


def ask(url: str, question: Question, **settings: Any) -> Any:
    endpoint = Endpoint(url=url, key="secret", at_once=1, **settings)
    return answer_by_endpoint(model_named("gpt-4o"), endpoint, [question], sleep=lambda _: None)


def test_p_t_is_the_probability_of_the_first_token_that_is_a_letter() -> None:
    said = completion("Answer: B", [("Answer", 0.5), (":", 0.9), (" B", 0.75)])
    with serving(lambda body, call: (200, said)) as (url, asked):
        got = ask(url, CHOICE)
    assert got.answers == ("B",) and got.correct.tolist() == [1.0]
    assert got.p_t.tolist() == pytest.approx([0.75])
    assert (got.tokens_in[0], got.tokens_out[0]) == (31.0, 3.0)
    assert got.hidden is None and got.parameters is None and got.latency_ms[0] > 0
    assert asked[0]["path"] == "/v1/chat/completions" and asked[0]["authorization"] == "Bearer secret"
    assert asked[0]["logprobs"] is True and asked[0]["messages"][0]["content"] == CHOICE.prompt


def test_an_open_answer_is_graded_whole_and_its_first_token_counts() -> None:
    with serving(lambda body, call: (200, completion("\nParis.", [("\n", 0.99), ("Paris", 0.6), (".", 1.0)]))) as (
        url,
        _,
    ):
        got = ask(url, OPEN)
    assert got.correct.tolist() == [1.0] and got.p_t.tolist() == pytest.approx([0.6])


def test_without_token_probabilities_p_t_is_missing_and_never_made_up() -> None:
    with serving(lambda body, call: (200, completion("B", None))) as (url, _):
        got = ask(url, CHOICE)
    assert got.correct.tolist() == [1.0] and np.isnan(got.p_t).all()


def test_a_busy_endpoint_is_asked_again() -> None:
    def answers(body: dict[str, Any], call: int) -> tuple[int, Any]:
        return (429, {}) if call < 3 else (200, completion("B", [("B", 0.9)]))

    with serving(answers) as (url, asked):
        assert ask(url, CHOICE).correct.tolist() == [1.0]
    assert len(asked) == 3


def test_an_endpoint_that_refuses_or_fails_for_good_stops_the_run() -> None:
    with serving(lambda body, call: (401, {"error": "no key"})) as (url, asked):
        with pytest.raises(PaperError, match="answered 401"):
            ask(url, CHOICE)
        assert len(asked) == 1
    with serving(lambda body, call: (503, {})) as (url, asked):
        with pytest.raises(PaperError, match=r"failed 2 times \(status 503\)"):
            ask(url, CHOICE, tries=2)
        assert len(asked) == 2
    with serving(lambda body, call: (200, {"text": "B"})) as (url, _), pytest.raises(PaperError, match="'choices'"):
        ask(url, CHOICE)


def test_answers_keep_the_order_of_the_questions_whatever_the_order_of_replies() -> None:
    questions = [choice_question("mmlu", "maths", f"{at}?", ["1", "2", "3", "4"], at % 4) for at in range(24)]
    right = {one.prompt: one.accepted[0] for one in questions}

    def answers(body: dict[str, Any], call: int) -> tuple[int, Any]:
        letter = right[body["messages"][0]["content"]]
        return 200, completion(letter, [(letter, 0.9)])

    with serving(answers) as (url, _):
        got = answer_by_endpoint(model_named("m"), Endpoint(url=url, at_once=6), questions)
    assert got.correct.all() and got.ids == tuple(one.id for one in questions)
