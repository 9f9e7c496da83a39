"""SGLang: hidden states come back in the answer, of the last layer, after the final norm (extra
`sglang`).

The server is started with `--enable-return-hidden-states`; a request says `return_hidden_states:
"last"`. While a longer answer is written, each step overwrites that one state, so the state of a
finished answer belongs to its own last token and not to the prompt. P(IK) is read at the last
prompt token. So an answer of more than one token takes two requests: the first writes one token and
carries the state, the second writes the answer on the prefix that the server has cached by then.
P(T), entropy and margin are read from the answer that is served: only a whole one shows which of
its tokens are the answer's. A tier that is not to answer is asked for the first request alone.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from knowgate._records.arrays import Float32Array
from knowgate._records.observation import Observation
from knowgate._records.records import Fingerprint, PTKind
from knowgate.backends.chat import Chat
from knowgate.backends.openai import OpenAIBackend, Plan, Post
from knowgate.backends.protocol import Finish, MayAnswer, Message, require_engine


class SGLangBackend(OpenAIBackend):
    """A model that SGLang serves; `fingerprint` says what its hidden states are, None leaves them
    out.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        fingerprint: Fingerprint | None,
        api_key: str | None = None,
        max_tokens: int = 256,
        options: Sequence[str] = (),
        p_t_kind: PTKind | None = PTKind.FIRST_TOKEN,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            url,
            model,
            api_key=api_key,
            max_tokens=max_tokens,
            options=options,
            p_t_kind=p_t_kind,
            parameters=parameters,
        )
        require_engine(fingerprint, engine="sglang", normed=True)
        self.fingerprint = fingerprint

    @property
    def early(self) -> bool:
        """Whether a state is read before the answer is written: not where one token is all."""
        return self.fingerprint is not None and not self._is_of_one_token()

    def _plan(self, messages: Sequence[Message], deadline: float, may_answer: MayAnswer | None = None) -> Plan:
        if self.fingerprint is None:
            return (yield from super()._plan(messages, deadline))
        began = time.perf_counter()
        content = yield Post(body=self._one_token(messages, return_hidden_states="last"))
        first = self._read(content)
        unread: list[str] = []
        hidden = _state(first, unread)
        fingerprint = None if hidden is None else self.fingerprint
        prompt = Observation(hidden=hidden, fingerprint=fingerprint, tokens_in=first.reply.shown.tokens_in)
        if self.early and may_answer is not None and not may_answer(prompt):
            return self._skipped(first, began, prompt, unread)
        answered = first
        if not self._is_of_one_token() and first.reply.finish is not Finish.STOP:
            answered = self._read((yield Post(body=self._body(messages))))
        seen = {"hidden": hidden, "fingerprint": fingerprint, "tokens_in": prompt.tokens_in}
        return self._reply(answered, began, notes=unread, **seen)


def _state(chat: Chat, notes: list[str]) -> Float32Array | None:
    """choices[0].hidden_states: one vector [d], or [1, d]."""
    value = chat.choice.get("hidden_states")
    if value is None:
        notes.append("no hidden_states came: start the server with --enable-return-hidden-states")
        return None
    try:
        state: Float32Array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        notes.append(f"hidden_states are no numbers: {error}")
        return None
    if state.ndim == 2 and len(state) == 1:
        state = state[0]
    if state.ndim != 1 or not len(state):
        notes.append(f"hidden_states have the shape {state.shape}: one state [d] is expected")
        return None
    return state
