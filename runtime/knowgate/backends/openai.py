"""Any server that speaks the OpenAI chat protocol: text and log-probabilities, no hidden states
(extra `openai`).

The base of the engines that add to the protocol: what they do beyond one request is a plan, a
generator that yields requests and blocking work. It is written once and driven twice, with and
without an event loop.
"""

import asyncio
import copy
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from knowgate._records.observation import Observation
from knowgate._records.options import option_of
from knowgate._records.records import PTKind
from knowgate.backends._text.reasoning import answer_of
from knowgate.backends.chat import Chat, read_chat
from knowgate.backends.endpoint import Endpoint
from knowgate.backends.opened import Opened
from knowgate.backends.protocol import CHAT, MayAnswer, Message, Reply, require_kind
from knowgate.backends.steps import taken, taken_async
from knowgate.errors import RecordInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A step of a plan: send this body; answered with the bytes that came."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A step of a plan: run what blocks; answered with what it returns."""

    run: Callable[[], Any]


Plan = Generator[Post | Work, Any, Reply]


class OpenAIBackend:
    """A model behind an OpenAI-compatible API.

    `url` is the API's root (…/v1). `options`, the texts of the allowed answers, give entropy and
    margin over them. `p_t_kind` is the probability that is given as P(T), None asks for no
    log-probabilities; one that cannot be given is refused with RecordInvalid. `parameters` are
    added to every request and win over what is set here; None takes a field away. Close it, or use
    it as a context manager (`async with` under an event loop).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_tokens: int = 256,
        options: Sequence[str] = (),
        p_t_kind: PTKind | None = PTKind.FIRST_TOKEN,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        if max_tokens < 1:
            raise RecordInvalid("max_tokens", max_tokens, "an answer has at least one token")
        require_kind(p_t_kind, options)
        if p_t_kind is not None and not (parameters or {}).get("logprobs", True):
            cure = "parameters take logprobs away, and every P(T) with them: leave them on, or give p_t_kind=None"
            raise RecordInvalid("p_t_kind", str(p_t_kind), cure)
        self.model = model
        self.p_t_kind = None if p_t_kind is None else PTKind(p_t_kind)
        self.max_tokens = max_tokens
        self.options = tuple(options)
        self._parameters = dict(parameters or {})
        self._endpoint = Endpoint(url, api_key)

    @property
    def early(self) -> bool:
        """Whether a state is read before the answer is written."""
        return False

    def ask(self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None) -> Reply:
        """One try, given up after `timeout_s`; `may_answer` is asked where the engine is `early`.
        Raises BackendFailed.
        """
        deadline = time.monotonic() + timeout_s

        def act(step: Post | Work) -> Any:
            return step.run() if isinstance(step, Work) else self._endpoint.post(step.body, deadline=deadline)

        return taken(self._plan(messages, deadline, may_answer), act)

    async def ask_async(
        self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None
    ) -> Reply:
        """`ask`, on the running event loop."""
        deadline = time.monotonic() + timeout_s

        async def act(step: Post | Work) -> Any:
            if isinstance(step, Work):
                return await asyncio.to_thread(step.run)
            return await self._endpoint.post_async(step.body, deadline=deadline)

        return await taken_async(self._plan(messages, deadline, may_answer), act)

    def with_parameters(self, parameters: Mapping[str, Any]) -> Self:
        """The same model at the same connections, with these parameters in every request too."""
        if not parameters:
            return self
        other = copy.copy(self)
        newer = {"max_tokens": None} if "max_completion_tokens" in parameters else {}
        other._parameters = self._parameters | newer | dict(parameters)
        return other

    async def open_chat_async(self, messages: Sequence[Message], *, timeout_s: float, listed: bool = False) -> Opened:
        """The answer to `messages` in events, asked for as `ask` does, with log-probabilities where
        they are to be `listed`. Raises BackendFailed.
        """
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        left_out = () if listed else ("logprobs", "top_logprobs")
        asked = {name: value for name, value in (self._body(messages) | streamed).items() if name not in left_out}
        return await self._endpoint.open_async(CHAT, asked, deadline=time.monotonic() + timeout_s)

    def reply_of(self, content: bytes, began: float) -> Reply:
        """The reply that a completion, or the events of one put together, amounts to; it was asked
        for at `began` (of time.perf_counter). Raises BackendFailed.
        """
        return self._reply(self._read(content), began)

    async def open_async(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> Opened:
        """What the API's `path` answers to `body` as it is; where that says nothing, the model is
        this one, and of a chat the parameters are its own. Raises BackendFailed.
        """
        own = {name: value for name, value in self._parameters.items() if value is not None}
        asked = {"model": self.model} | (own if path == CHAT else {}) | dict(body)
        return await self._endpoint.open_async(path, asked, deadline=time.monotonic() + timeout_s)

    def close(self) -> None:
        """Closes the connections of `ask` and `ask_async`; a query that waits for one fails with
        BackendFailed.
        """
        self._endpoint.close()

    async def close_async(self) -> None:
        """`close`, on the running event loop, which it never blocks."""
        await self._endpoint.close_async()
        await asyncio.to_thread(self._endpoint.close)  # it waits for other threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_async()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.url!r}, {self.model!r})"

    def _plan(self, messages: Sequence[Message], deadline: float, may_answer: MayAnswer | None = None) -> Plan:
        """What one try does; returns its reply. `deadline` is of time.monotonic."""
        began = time.perf_counter()
        content = yield Post(body=self._body(messages))
        return self._reply(self._read(content), began)

    def _body(self, messages: Sequence[Message], **changes: Any) -> dict[str, Any]:
        body = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": self.max_tokens,
            "temperature": 0.0,
            "logprobs": None if self.p_t_kind is None else True,
            "top_logprobs": None if self.p_t_kind is None else self._top_logprobs(),
        }
        body |= changes | self._parameters
        return {name: value for name, value in body.items() if value is not None}

    def _one_token(self, messages: Sequence[Message], **changes: Any) -> dict[str, Any]:
        """A body that has the prompt read and one token written, whatever the parameters say."""
        body = self._body(messages, **changes)
        body["max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"] = 1
        body.pop("min_tokens", None)
        return body

    def _top_logprobs(self) -> int:
        """How many tokens are to be listed: those of the options, or a second one, which shows that
        they are real.
        """
        return min(20, max(5, 2 * len(self.options))) if self.options else 2

    def _stops(self) -> tuple[str, ...]:
        """The stop strings that a request names; they are cut off from the text, and listed all the
        same.
        """
        stop = self._parameters.get("stop")
        return tuple(
            one
            for one in ([stop] if isinstance(stop, str) else stop if isinstance(stop, list | tuple) else ())
            if isinstance(one, str)
        )

    def _is_of_one_token(self) -> bool:
        """Whether answers are meant to be one token, which every engine calls cut off."""
        sent = {"max_tokens": self.max_tokens} | self._parameters
        return 1 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))

    def _skipped(self, chat: Chat, began: float, prompt: Observation, notes: Sequence[str]) -> Reply:
        """The reply of a tier that is not to answer: what was read of its prompt, and the token
        that reading it took.
        """
        latency_ms, tokens_out = (time.perf_counter() - began) * 1e3, chat.reply.shown.tokens_out
        shown = replace(prompt, tokens_out=tokens_out, latency_ms=latency_ms, notes=tuple(notes))
        return Reply(shown=shown, skipped=True)

    def _read(self, content: bytes) -> Chat:
        return read_chat(content, options=self.options, p_t_kind=self.p_t_kind, stops=self._stops())

    def _reply(self, chat: Chat, began: float, *, notes: Sequence[str] = (), **shown: Any) -> Reply:
        """The reply that `chat` amounts to; `began` is of time.perf_counter, `shown` what else was
        seen.
        """
        reply = chat.reply
        notes = (*reply.shown.notes, *notes)
        latency_ms = (time.perf_counter() - began) * 1e3
        seen = replace(reply.shown, p_t_kind=self.p_t_kind, latency_ms=latency_ms, notes=notes, **shown)
        enough = self._is_of_one_token() or option_of(answer_of(reply.text) or "", self.options) is not None
        return replace(reply, shown=seen, enough=enough)
