"""vLLM: the server writes the states of all prompt tokens into a file; one row is taken, the file goes (extra `vllm`).

The server runs with the speculative method `extract_hidden_states` and the connector `ExampleHiddenStatesConnector`,
and names the file in `kv_transfer_params.hidden_states_path` of its answer. Server and client share the folder
(`/dev/shm/…` on one host). Only the file's name is believed: it is looked up in the folder given here, so neither a
mount elsewhere nor a hostile path reaches another file. Layer n is what leaves block n, before the final norm.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from knowgate.arrays import Float32Array
from knowgate.backends.chat import Chat
from knowgate.backends.openai import OpenAIBackend, Plan, Post, Work
from knowgate.backends.protocol import Message, require_engine
from knowgate.backends.states_file import LOCK_SUFFIX, StatesUnreadable, take_row
from knowgate.errors import RecordInvalid
from knowgate.records import Fingerprint, PTKind

SUFFIX = ".safetensors"


class VLLMBackend(OpenAIBackend):
    """A model that vLLM serves; `fingerprint` says what its hidden states are, None leaves them out.

    `folder` is the server's `shared_storage_path` as this process sees it, `layers` its
    `eagle_aux_hidden_state_layer_ids` in their order: the file does not say which layers it holds.
    The file may come `file_wait_s` after the answer.
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
        self.fingerprint = fingerprint
        self.layers = tuple(layers)
        self._folder = Path(folder or ".")
        self._file_wait_s = file_wait_s

    def remove_left_overs(self, *, older_than_s: float) -> int:
        """Deletes files nobody took, such as those of queries that timed out; returns how many states went."""
        removed = 0
        for path in self._folder.glob(f"*{SUFFIX}*"):
            with suppress(FileNotFoundError):
                if path.name.endswith((SUFFIX, SUFFIX + LOCK_SUFFIX)) and (
                    path.lstat().st_mtime < time.time() - older_than_s
                ):
                    path.unlink()
                    removed += path.name.endswith(SUFFIX)
        return removed

    def _plan(self, messages: Sequence[Message], deadline: float) -> Plan:
        if self.fingerprint is None:
            return (yield from super()._plan(messages, deadline))
        began = time.perf_counter()
        chat = self._read((yield Post(body=self._body(messages))))
        notes: list[str] = []
        hidden = yield Work(run=partial(self._take, chat, deadline, notes))
        fingerprint = None if hidden is None else self.fingerprint
        return self._reply(chat, began, hidden=hidden, fingerprint=fingerprint, notes=notes)

    def _take(self, chat: Chat, deadline: float, notes: list[str]) -> Float32Array | None:
        assert self.fingerprint is not None
        try:
            return take_row(
                self._folder / _file_name(chat),
                row=None if chat.tokens_in is None else chat.tokens_in - 1,
                layer=self.layers.index(self.fingerprint.layer),
                layers=len(self.layers),
                deadline=min(deadline, time.monotonic() + self._file_wait_s),
            )
        except StatesUnreadable as error:
            notes.append(f"the hidden state is missing: {error}")
            return None


def _file_name(chat: Chat) -> str:
    transfer = chat.document.get("kv_transfer_params")
    path = transfer.get("hidden_states_path") if isinstance(transfer, dict) else None
    name = PurePosixPath(path).name if isinstance(path, str) and "\0" not in path else ""
    if not name.endswith(SUFFIX):
        raise StatesUnreadable(
            f"kv_transfer_params.hidden_states_path is {path!r}; serve with extract_hidden_states and its connector"
        )
    return name
