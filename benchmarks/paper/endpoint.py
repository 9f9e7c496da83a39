"""Ask a model behind an OpenAI-compatible endpoint: answers, P(T) from its token probabilities,
tokens, latency.

P(T) is the probability of the answer's first token: for multiple choice the first generated token
that is an option's letter, for open answers the first one that is not white space. Hidden states do
not come this way, so such a tier is gated by P(T) alone. Failed calls are tried again with growing
pauses; after the last one the run stops, since a gap would make the models' questions differ.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from benchmarks.paper.answer_files import ModelAnswers
from benchmarks.paper.catalogue import PaperModel
from benchmarks.paper.errors import PaperError
from benchmarks.paper.questions import LETTERS, Kind, Question, grade
from knowgate._wire.backoff import next_delay

RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where and how to ask."""

    url: str  # up to and with the version, e.g. http://127.0.0.1:8000/v1
    key: str | None = None
    max_tokens: int = 48
    at_once: int = 8
    tries: int = 6
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one question got."""

    text: str
    tokens: tuple[tuple[str, float], ...]  # generated tokens with their probabilities; empty = none were given
    tokens_in: float
    tokens_out: float
    latency_ms: float


def answer_by_endpoint(
    model: PaperModel,
    endpoint: Endpoint,
    questions: Sequence[Question],
    *,
    report: Callable[[int], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> ModelAnswers:
    """Ask every question. Raises PaperError where the endpoint refuses, fails for good or answers
    something else.
    """
    head = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}

    def ask(question: Question) -> Reply:
        reply = _ask(client, endpoint, model.source, question, sleep)
        report(1)
        return reply

    with (
        httpx2.Client(headers=head, timeout=endpoint.timeout_s) as client,
        ThreadPoolExecutor(endpoint.at_once) as pool,
    ):
        replies = list(pool.map(ask, questions))
    read = [_read(question, reply) for question, reply in zip(questions, replies, strict=True)]
    grades = [grade(question, answer) for question, (answer, _) in zip(questions, read, strict=True)]
    return ModelAnswers(
        model=model.name,
        parameters=model.parameters,
        data_set=questions[0].data_set,
        ids=tuple(question.id for question in questions),
        slices=tuple(question.slice for question in questions),
        prompts=tuple(question.prompt for question in questions),
        answers=tuple(answer for answer, _ in read),
        correct=np.array([float(one.correct) for one in grades]),
        abstained=np.array([one.abstained for one in grades]),
        p_t=np.array([p_t for _, p_t in read]),
        entropy=np.full(len(read), np.nan),
        tokens_in=np.array([reply.tokens_in for reply in replies]),
        tokens_out=np.array([reply.tokens_out for reply in replies]),
        latency_ms=np.array([reply.latency_ms for reply in replies]),
    )


def _read(question: Question, reply: Reply) -> tuple[str, float]:
    """The answer that is graded, and P(T); NaN where the endpoint gives no probability of it."""
    if question.kind is Kind.CHOICE:
        for token, probability in reply.tokens:
            if token.strip(" .():*\n") in LETTERS:
                return token.strip(" .():*\n"), probability
        letter_read = next((letter for letter in LETTERS if reply.text.strip(" .():*\n").startswith(letter)), "")
        return letter_read, math.nan
    first = next((probability for token, probability in reply.tokens if token.strip()), math.nan)
    return reply.text.strip(), first


def _ask(
    client: httpx2.Client, endpoint: Endpoint, name: str, question: Question, sleep: Callable[[float], object]
) -> Reply:
    body = {
        "model": name,
        "messages": [{"role": "user", "content": question.prompt}],
        "max_tokens": endpoint.max_tokens,
        "temperature": 0,
        "logprobs": True,
    }
    address = f"{endpoint.url.rstrip('/')}/chat/completions"
    problem = ""
    for failures in range(endpoint.tries):
        if failures:
            sleep(next_delay(base_s=0.5, failures=failures, bound_s=60.0))
        began = time.perf_counter()
        try:
            answer = client.post(address, json=body)
        except httpx2.TransportError as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        if answer.status_code in RETRIED:
            problem = f"status {answer.status_code}"
            continue
        if answer.status_code != httpx2.codes.OK:
            raise PaperError(f"{address} answered {answer.status_code} to {name}: {answer.text[:200]}")
        return _reply(answer, (time.perf_counter() - began) * 1e3, address)
    raise PaperError(f"{address} failed {endpoint.tries} times ({problem}): see that it serves {name}, then run again")


def _reply(answer: httpx2.Response, latency_ms: float, address: str) -> Reply:
    try:
        document: Any = answer.json()
        choice, usage = document["choices"][0], document["usage"]
        listed = (choice.get("logprobs") or {}).get("content") or []
        return Reply(
            text=str(choice["message"]["content"] or ""),
            tokens=tuple((str(one["token"]), min(1.0, math.exp(float(one["logprob"])))) for one in listed),
            tokens_in=float(usage["prompt_tokens"]),
            tokens_out=float(usage["completion_tokens"]),
            latency_ms=latency_ms,
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PaperError(
            f"{address} answered without {error}: give an endpoint that speaks OpenAI's chat completions"
        ) from error
