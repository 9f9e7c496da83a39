"""Tiny models of several families, made from a seed, and a tokenizer of letters. Imports wait until
they are used.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import Engine
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from factories import make_decision
from knowgate._records.records import Attempt, Label, LabelSource, Role, Signals
from knowgate.spec import CascadeSpec
from store.engine import open_engine, transaction
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDE :?"
SPECIAL = ["<pad>", "</s>"]


def tokenizer_of_letters(padding_side: str = "left") -> "PreTrainedTokenizerFast":
    from tokenizers import Regex
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *LETTERS])}
    core = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", padding_side=padding_side
    )


def model_of(family: str) -> "PreTrainedModel":
    import torch

    size = len(SPECIAL) + len(LETTERS)
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(7)
    if family == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        return GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=3, n_head=2, n_positions=64, **ends))
    shape = {
        "vocab_size": size,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    if family == "gpt_neox":
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, **ends))
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2, initializer_range=0.5, **ends))


@pytest.fixture(name="model_of")
def model_of_fixture() -> "Callable[[str], PreTrainedModel]":
    return model_of


@pytest.fixture(name="tokenizer_of_letters")
def tokenizer_of_letters_fixture() -> "Callable[..., PreTrainedTokenizerFast]":
    return tokenizer_of_letters


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """An engine on an empty, migrated SQLite database of this test's own."""
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def store_letters() -> Callable[..., None]:
    """Stores 900 questions, text and all, of a small model that is right on the first half of the
    alphabet, which its P(T) hardly says: `store_letters(engine, spec, start, end)`.
    """
    return _store_letters


def _store_letters(engine: Engine, spec: CascadeSpec, start: datetime, end: datetime, count: int = 900) -> None:
    draw, decisions, labels = np.random.default_rng(0), [], []
    small, large = (tier.model for tier in spec.tiers)
    ran = {"tokens_in": 7, "tokens_out": 1}
    for row in range(count):
        at = start + (end - start) * (row / count)
        prompt = str(draw.choice(list(LETTERS[:26]))) * 6 + ":"
        right = float((prompt[0] in LETTERS[:13]) != (draw.random() < 0.05))
        p_t = float(np.clip(0.5 + 0.2 * (right - 0.5) + 0.2 * draw.normal(), 0.05, 0.95))
        attempts = (
            Attempt(tier=0, role=Role.SUPERSEDED, model=small, signals=Signals(p_t=p_t), **ran),
            Attempt(tier=1, role=Role.SERVED, model=large, run_propensity=1.0, **ran),
        )
        decision = make_decision(at, cascade=spec.name, attempts=attempts, prompt=prompt, prompt_hash=f"hash{row}")
        decisions.append(decision)
        about = {"cascade": spec.name, "source": LabelSource.GOLD, "labelled_at": at, "decision_id": decision.id}
        labels += [Label(tier=tier, correct=correct, **about) for tier, correct in ((0, right), (1, 1.0))]
    with transaction(engine) as session:
        apply_cascade(session, spec, now=start)
        add_decisions(session, decisions, received_at=end)
        add_labels(session, labels, received_at=end)
