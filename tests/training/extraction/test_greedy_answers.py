"""Answers are greedy whatever the model's folder asks for, and end where the model says, alone or
in a batch.
"""

from typing import Any

import pytest

from knowgate._records.records import PTKind
from knowgate.backends.loading import LoadedModel, adopt
from knowgate.backends.transformers import TransformersBackend
from training.errors import ExtractionRefused
from training.extraction import Answerer

PROMPTS = ["country of a:", "who?", "abc def ghi jkl mno:", "x", "state of bcd:"]


@pytest.fixture
def loaded(model_of: Any, tokenizer_of_letters: Any) -> LoadedModel:
    return adopt(model_of("llama"), tokenizer_of_letters(), model="tiny", revision="1")


def answered(loaded: LoadedModel, batch: int = 8) -> list[tuple[str, int, float]]:
    answerer = Answerer(loaded, layers=[1], max_new_tokens=8, p_t_kind=PTKind.MEAN, batch=batch)
    return [(one.text, one.tokens_out, round(one.p_t, 5)) for one in answerer.answer(PROMPTS)]


@pytest.mark.parametrize(
    "own",
    [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 1}, {"min_new_tokens": 7}, {"num_beams": 3, "top_k": 3}],
)
def test_what_a_folder_asks_of_generation_is_set_aside(loaded: LoadedModel, own: dict[str, Any]) -> None:
    plain = answered(loaded)
    config = loaded.network.generation_config
    config.update(**own)
    assert answered(loaded) == plain
    assert loaded.network.generation_config is config and config.to_dict().items() >= own.items()


def test_every_token_that_ends_an_answer_ends_it_in_any_batch_and_at_serving(loaded: LoadedModel) -> None:
    written = [text for text, _, _ in answered(loaded)]
    letter = next(text[1] for text in written if len(text) > 2)
    (end,) = loaded.tokenizer(letter, add_special_tokens=False)["input_ids"]
    loaded.network.generation_config.eos_token_id = [1, end]
    together, alone = answered(loaded), answered(loaded, batch=1)
    assert together == alone
    short = next(row for row, text in enumerate(written) if len(text) > 2 and text[1] == letter)
    assert together[short][1] <= 2 < len(written[short])
    backend = TransformersBackend(
        network=loaded.network, tokenizer=loaded.tokenizer, model="tiny", max_new_tokens=8, p_t_kind=PTKind.MEAN
    )
    for prompt, (text, tokens_out, p_t) in zip(PROMPTS, together, strict=True):
        reply = backend.ask([{"role": "user", "content": prompt}], timeout_s=60)
        assert (reply.text, reply.shown.tokens_out) == (text, tokens_out)
        assert reply.shown.p_t == pytest.approx(p_t, abs=1e-4)


def test_other_kinds_of_p_t_are_those_of_the_same_answers(loaded: LoadedModel) -> None:
    def asked(kind: PTKind, *others: PTKind) -> list[Any]:
        return Answerer(loaded, layers=[1], max_new_tokens=8, p_t_kind=kind, other_kinds=others).answer(PROMPTS)

    first = asked(PTKind.FIRST_TOKEN)
    both = asked(PTKind.MEAN, PTKind.FIRST_TOKEN)
    assert [one.text for one in both] == [one.text for one in first]
    assert [one.other_p_t[PTKind.FIRST_TOKEN] for one in both] == pytest.approx([one.p_t for one in first], abs=1e-6)
    assert any(one.other_p_t[PTKind.FIRST_TOKEN] != pytest.approx(one.p_t, abs=1e-3) for one in both)
    assert all(one.other_p_t == {} for one in first)
    with pytest.raises(ExtractionRefused, match="give the options"):
        asked(PTKind.MEAN, PTKind.OPTION)
