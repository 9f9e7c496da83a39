"""The same tokens give the same P(T) of every kind, entropy and margin, in this process or listed
by an endpoint.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from demo.pair import SMALL
from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.answer_tokens import read_signals
from knowgate.backends.chat import read_chat
from knowgate.backends.loading import LoadedModel
from knowgate.backends.protocol import Finish
from knowgate.backends.transformers import TransformersBackend
from knowgate.backends.written import Spellings, token_texts, written_tokens
from training.extraction import load_model

PIECES = (
    "A",
    " A",
    "A.",
    "(A",
    "B",
    " B",
    "C",
    "AB",
    "ardvarks",
    ".",
    " ",
    "\n",
    "**",
    " it is",
    "é",
    "<think>",
    "</think>",
    "",
)
OPTIONS = ("A", "B", "C")
OWN = tuple(PIECES.index(option) for option in OPTIONS)
END = len(PIECES) - 1


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of these pieces; the last one is the end."""

    pieces: Sequence[str] = PIECES

    def get_vocab(self) -> dict[str, int]:
        return {piece: at for at, piece in enumerate([*self.pieces, "A of another model"])}

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(self.pieces[one] for one in ids)

    def shown(self, ids: Sequence[int]) -> str:
        return self.decode(ids, skip_special_tokens=True)

    def batch_decode(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]


def listed(ids: Sequence[int], rows: Sequence[Sequence[float]], text: str, texts: Sequence[str]) -> bytes:
    """The reply of an endpoint that lists every token of the vocabulary."""
    content = [
        {
            "token": texts[one],
            "logprob": row[one],
            "bytes": list(texts[one].encode()),
            "top_logprobs": [
                {"token": piece, "logprob": number, "bytes": None} for piece, number in zip(texts, row, strict=True)
            ],
        }
        for one, row in zip(ids, rows, strict=True)
    ]
    finish = "stop" if ids[-1] == len(texts) - 1 else "length"
    choice = {"message": {"content": text}, "finish_reason": finish, "logprobs": {"content": content}}
    return json.dumps({"choices": [choice]}).encode()


def log_softmax(logits: Sequence[float]) -> list[float]:
    total = math.log(math.fsum(math.exp(one) for one in logits))
    return [one - total for one in logits]


ANSWERS = st.tuples(st.sampled_from(OWN), st.lists(st.integers(0, END - 1), max_size=3), st.booleans(), st.randoms())


@given(ANSWERS, st.sampled_from(list(PTKind)), st.booleans())
def test_the_same_tokens_are_read_alike(answer: Any, kind: PTKind, with_options: bool) -> None:
    first, more, ends, random = answer
    ids = [first, *more, *([END] if ends else [])]
    rows = [log_softmax([random.uniform(-8.0, 8.0) for _ in PIECES]) for _ in ids]
    options = OPTIONS if with_options or kind is PTKind.OPTION else ()
    tokenizer = Tokenizer()
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assume(not options or "</think>" not in text)  # here an option is the first token, and no thought comes before
    spellings = Spellings(tokenizer, OPTIONS, OWN, size=len(PIECES))
    numbers = [row[one] for one, row in zip(ids, rows, strict=True)]
    alternatives = spellings.others([rows[0][one] for one in spellings.tokens], ids[0]) if options else None
    ended = Ended(finish=Finish.STOP if ends else Finish.LENGTH)
    tokens = written_tokens(tokenizer.shown, ids, numbers, alternatives)
    here = read_signals(tokens, text, kind=kind, options=options, ended=ended, notes=[]) or Observation()
    there = read_chat(listed(ids, rows, text, PIECES), options=options, p_t_kind=kind).reply.shown
    for name in ("p_t", "entropy", "margin"):
        ours, theirs = getattr(here, name), getattr(there, name)
        assert (ours is None) == (theirs is None), (name, ours, theirs, there.notes)
        assert ours is None or ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("ids", [[0, 9], [1], [0, END], [2, 12, END]])
def test_in_process_an_option_has_all_of_its_spellings(ids: list[int]) -> None:
    row = log_softmax([float(at % 5) for at in range(len(PIECES))])
    spellings = Spellings(Tokenizer(), OPTIONS, OWN, size=len(PIECES))
    assert [PIECES[one] for one in spellings.of[0]] == ["A", " A", "A.", "(A"]
    signals = read_signals(
        written_tokens(
            Tokenizer().shown,
            ids,
            [row[one] for one in ids],
            spellings.others([row[one] for one in spellings.tokens], ids[0]),
        ),
        "".join(PIECES[one] for one in ids),
        kind=PTKind.OPTION,
        options=OPTIONS,
        ended=Ended(finish=Finish.STOP),
        notes=[],
    )
    assert signals is not None
    assert signals.p_t == pytest.approx(sum(math.exp(row[one]) for one in spellings.of[0]))


def test_a_letter_of_several_tokens_is_shared_among_them() -> None:
    pieces = ["🙂".encode()[:1], "🙂".encode()[1:2], "🙂".encode()[2:], b" x"]

    def decode(ids: Sequence[int]) -> str:
        return b"".join(pieces[one] for one in ids).decode("utf-8", "replace")

    texts = token_texts(decode, [3, 0, 1, 2, 3, 0])
    assert b"".join(texts[:5]).decode() == " x🙂 x"
    assert [len(text) for text in texts] == [2, 1, 1, 2, 2, 3]  # the last one is shown as U+FFFD


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(SMALL, model="small")


@pytest.mark.parametrize("kind", list(PTKind))
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("prompt", ["the", "capital of Peru", "country of Lima"])
def test_a_model_in_this_process_and_one_behind_an_endpoint_say_the_same(
    loaded: LoadedModel, kind: PTKind, tokens: int, prompt: str
) -> None:
    """The endpoint's list is made from the model's own logits along the answer that the back-end
    wrote.
    """
    tokenizer, size = loaded.tokenizer, loaded.network.config.vocab_size
    words = [tokenizer.decode([one]) for one in range(size)]
    options = [
        word
        for one, word in enumerate(words)
        if word.strip(" .,") and tokenizer(word, add_special_tokens=False)["input_ids"] == [one]
    ][5:8]
    backend = TransformersBackend(
        loaded.network, tokenizer, model="small", max_new_tokens=tokens, p_t_kind=kind, options=options
    )
    reply = backend.ask([{"role": "user", "content": prompt}], timeout_s=60.0)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    content = []
    written = tokenizer(options, add_special_tokens=False)["input_ids"]
    for at in range(reply.shown.tokens_out or 0):
        with torch.inference_mode():
            row = loaded.network(input_ids=ids).logits[0, -1].float().log_softmax(-1)
        token = max((one for (one,) in written), key=lambda one: float(row[one])) if at == 0 else int(row.argmax())
        top = sorted({token, *(one for (one,) in written)} | set(row.topk(8).indices.tolist()))
        shown = [{"token": words[one], "logprob": float(row[one]), "bytes": None} for one in top]
        text = "" if token in tokenizer.all_special_ids else words[token]
        content.append({"token": text, "logprob": float(row[token]), "bytes": None, "top_logprobs": shown})
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    finish = "stop" if reply.finish is Finish.STOP or tokens == 1 else "length"
    choice = {"message": {"content": reply.text}, "finish_reason": finish, "logprobs": {"content": content}}
    there = read_chat(json.dumps({"choices": [choice]}).encode(), options=options, p_t_kind=kind).reply.shown
    for name in ("p_t", "entropy", "margin"):
        ours, theirs = getattr(reply.shown, name), getattr(there, name)
        assert (ours is None) == (theirs is None), (name, ours, theirs, there.notes)
        assert ours is None or ours == pytest.approx(theirs, abs=1e-4)
