"""vLLM: the server writes the states of all prompt tokens into a file; one row is taken, the file
goes (extra `vllm`).

The server runs with the speculative method `extract_hidden_states` and the connector
`ExampleHiddenStatesConnector`, and names the file in `kv_transfer_params.hidden_states_path` of its
answer. Server and client share the folder (`/dev/shm/…` on one host). Only the file's name is
believed: it is looked up in the folder given here, so neither a mount elsewhere nor a hostile path
reaches another file. Layer n is what leaves block n, before the final norm; the server writes its
layers in ascending order, whatever order it was given them in.

Where a gate may end the tier before it answers, a first request writes one token and the state, and
the answer takes a second one. The prompt is read twice then, since states are written for no token
that comes from a prefix cache: it pays where much is skipped or answers are long.

A file is written for every request, whether or not anybody wants states. So it is deleted after
every answer, and what queries leave behind that ran out of time is swept away, at most once a
minute.
"""

import asyncio
import logging
import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from knowgate._records.arrays import Float32Array
from knowgate._records.observation import Observation
from knowgate._records.records import Fingerprint, PTKind
from knowgate._wire.storable import fault_of_text
from knowgate._wire.strict_json import parse
from knowgate.backends.chat import Chat
from knowgate.backends.openai import OpenAIBackend, Plan, Post, Work
from knowgate.backends.opened import Opened
from knowgate.backends.protocol import Finish, MayAnswer, Message, Reply, require_engine
from knowgate.backends.states_file import (
    SUFFIX,
    StatesUnreadable,
    discard,
    discard_left_overs,
    require_folder,
    take_state,
)
from knowgate.errors import BackendFailed, RecordInvalid

SWEEP_EVERY_S = 60.0

log = logging.getLogger("knowgate.backends")


class VLLMBackend(OpenAIBackend):
    """A model that vLLM serves; `fingerprint` says what its hidden states are, None leaves them
    out.

    `folder` is the server's `shared_storage_path` as this process sees it; give it without a
    fingerprint too, or the files pile up. `layers` are its `eagle_aux_hidden_state_layer_ids`, in
    any order: the file does not say which layers it holds. The file may come `file_wait_s` after
    the answer; one that nobody took is deleted `left_over_s` after it was written. Raises
    RecordInvalid for a folder whose files this process may not read and delete.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        fingerprint: Fingerprint | None,
        folder: str | Path | None = None,
        layers: Sequence[int] = (),
        file_wait_s: float = 2.0,
        left_over_s: float = 600.0,
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
        require_engine(fingerprint, engine="vllm", normed=False)
        if fingerprint is not None and folder is None:
            raise RecordInvalid("folder", folder, "give the server's shared_storage_path")
        if fingerprint is not None and fingerprint.layer not in layers:
            raise RecordInvalid("layers", tuple(layers), f"the server does not write layer {fingerprint.layer}")
        if len(set(layers)) != len(layers):
            raise RecordInvalid("layers", tuple(layers), "name every layer once")
        if folder is not None:
            require_folder(Path(folder))
        self.fingerprint = fingerprint
        self.layers = tuple(sorted(layers))
        self._folder = None if folder is None else Path(folder)
        self._file_wait_s = file_wait_s
        self._left_over_s = left_over_s
        self._swept_at = float("-inf")  # of time.monotonic
        self._warned = False

    def remove_left_overs(self, *, older_than_s: float) -> int:
        """Deletes files nobody took, such as those of queries that timed out; returns how many
        states went.
        """
        return 0 if self._folder is None else discard_left_overs(self._folder, older_than_s=older_than_s)

    @property
    def early(self) -> bool:
        """Whether a state can be read before the answer is written: not where one token is all."""
        return self.fingerprint is not None and not self._is_of_one_token()

    async def open_async(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> Opened:
        """As of the base; the file that such a request leaves is swept with the left-overs."""
        await self._sweep_async()
        return await super().open_async(path, body, timeout_s=timeout_s)

    async def open_chat_async(self, messages: Sequence[Message], *, timeout_s: float, listed: bool = False) -> Opened:
        """As of the base; the file that such a request leaves is swept with the left-overs."""
        await self._sweep_async()
        return await super().open_chat_async(messages, timeout_s=timeout_s, listed=listed)

    def reply_of(self, content: bytes, began: float) -> Reply:
        """As of the base; the file goes whose name the answer says."""
        chat = self._read(content)
        self._discard(chat.document)
        return self._reply(chat, began)

    async def _sweep_async(self) -> None:
        if self._is_time_to_sweep():
            await asyncio.to_thread(self.remove_left_overs, older_than_s=self._left_over_s)

    def _is_time_to_sweep(self) -> bool:
        """Whether nobody has swept for long; whoever hears so sweeps."""
        due = self._folder is not None and time.monotonic() >= self._swept_at + SWEEP_EVERY_S
        if due:
            self._swept_at = time.monotonic()
        return due

    def _plan(self, messages: Sequence[Message], deadline: float, may_answer: MayAnswer | None = None) -> Plan:
        began = time.perf_counter()
        if self._is_time_to_sweep():
            yield Work(run=partial(self.remove_left_overs, older_than_s=self._left_over_s))
        asks = may_answer if self.early else None
        chat = yield from self._chat(self._body(messages) if asks is None else self._one_token(messages))
        if self.fingerprint is None:
            yield Work(run=partial(self._discard, chat.document))
            return self._reply(chat, began)
        notes: list[str] = []
        hidden = yield Work(run=partial(self._take, chat, deadline, notes))
        fingerprint = None if hidden is None else self.fingerprint
        prompt = Observation(hidden=hidden, fingerprint=fingerprint, tokens_in=chat.reply.shown.tokens_in)
        if asks is not None:
            if not asks(prompt):
                return self._skipped(chat, began, prompt, notes)
            if chat.reply.finish is not Finish.STOP:
                chat = yield from self._chat(self._body(messages))
                yield Work(run=partial(self._discard, chat.document))
        return self._reply(chat, began, hidden=hidden, fingerprint=fingerprint, notes=notes)

    def _chat(self, body: Mapping[str, Any]) -> Generator[Post | Work, Any, Chat]:
        """The completion that a request brings; of one that cannot be read the file goes."""
        content = yield Post(body=body)
        try:
            return self._read(content)
        except BackendFailed:
            yield Work(run=partial(self._discard, _document(content)))
            raise

    def _take(self, chat: Chat, deadline: float, notes: list[str]) -> Float32Array | None:
        assert self.fingerprint is not None and self._folder is not None
        try:
            return take_state(
                self._folder / _file_name(chat.document),
                prompt_tokens=chat.reply.shown.tokens_in,
                layer=self.layers.index(self.fingerprint.layer),
                layers=len(self.layers),
                deadline=min(deadline, time.monotonic() + self._file_wait_s),
            )
        except StatesUnreadable as error:
            notes.append(f"the hidden state is missing: {error}")
            return None

    def _discard(self, document: Any) -> None:
        """Deletes the file of an answer whose states nobody wants."""
        try:
            name = _file_name(document)
        except StatesUnreadable:  # the server writes none
            return
        if self._folder is not None:
            discard(self._folder / name)
        elif not self._warned:
            self._warned = True
            cure = "give its folder, so that they are deleted, or serve without extract_hidden_states"
            log.warning("%s writes hidden states that nobody reads (%s): %s", self.model, name, cure)


def _document(content: bytes) -> Any:
    """What an answer that is no chat completion says; None where it is no JSON, or says something
    twice.
    """
    try:
        return parse(content, finite=False)
    except RecordInvalid:
        return None


def _file_name(document: Any) -> str:
    transfer = document.get("kv_transfer_params") if isinstance(document, dict) else None
    path = transfer.get("hidden_states_path") if isinstance(transfer, dict) else None
    name = PurePosixPath(path).name if isinstance(path, str) and fault_of_text(path) is None else ""
    if not name.endswith(SUFFIX):
        raise StatesUnreadable(
            f"kv_transfer_params.hidden_states_path is {path!r}; serve with extract_hidden_states and its connector"
        )
    return name
