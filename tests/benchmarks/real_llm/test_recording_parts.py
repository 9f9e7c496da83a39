"""What is asked, how it is graded, and that a recording goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_llm.asked.asking import Prompts, asked
from benchmarks.real_llm.asked.facts import Fact, Kind, holds, load_facts
from benchmarks.real_llm.asked.forms import CLOSED_BOOK, OPEN_BOOK, SHOWN, Form, prompt_of
from benchmarks.real_llm.asked.layers import choosing
from benchmarks.real_llm.asked.reading import Reader
from benchmarks.real_llm.asked.seconds import measured
from benchmarks.real_llm.errors import RealModelError
from benchmarks.real_llm.weights import require_content
from demo.pair import SMALL
from knowgate._records.records import PTKind
from knowgate.backends.loading import LoadedModel
from training.extraction import Answerer, load_model

FACT = Fact(
    id="capital_of:Peru",
    kind=Kind.CAPITAL,
    subject="Peru",
    accepted=("Lima",),
    record="Peru: capital Lima; continent South America.",
)
PROMPTS = Prompts(
    name="tried",
    ids=("a", "b", "c"),
    texts=("country of paris:", "country of lima:", "country of nagoya:"),
    layers=(1, 2),
    max_new_tokens=3,
)


@pytest.mark.parametrize(
    ("text", "names", "right"),
    [
        ("The capital of Peru is Lima.", ["Lima"], True),
        ("It is Limassol.", ["Lima"], False),
        ("são luis", ["São Luís"], True),
        ("People’s Republic", ["People's Republic"], True),
        ("", ["Lima"], False),
    ],
)
def test_an_answer_is_right_where_a_name_stands_in_it_as_words_of_its_own(
    text: str, names: list[str], right: bool
) -> None:
    assert holds(text, names) is right


def test_only_an_open_book_shows_the_record_and_the_question_comes_last() -> None:
    for form in Form:
        closed, opened = (prompt_of(FACT, form, tier) for tier in (CLOSED_BOOK, OPEN_BOOK))
        assert FACT.record in opened and not holds(closed, FACT.accepted)
        assert closed.endswith(f"Q: {FACT.question}\nA:") and opened.endswith(f"Q: {FACT.question}\nA:")
    assert prompt_of(FACT, Form.SHORT, CLOSED_BOOK) != prompt_of(FACT, Form.SENTENCE, CLOSED_BOOK)


def test_facts_are_asked_once_and_those_that_the_prompts_show_never() -> None:
    pytest.importorskip("countryinfo")
    facts = load_facts(SHOWN)
    assert len({fact.id for fact in facts}) == len(facts) > 2000
    assert {fact.kind for fact in facts} == set(Kind)
    assert not {(fact.kind, fact.subject) for fact in facts} & set(SHOWN)
    assert all(holds(fact.record, fact.accepted) and not holds(fact.question, fact.accepted) for fact in facts)


def test_parts_that_are_there_are_not_asked_again(tmp_path: Path) -> None:
    loaded = load_model(SMALL)
    first = asked(lambda: loaded, PROMPTS, tmp_path)
    assert first.hidden.shape[:2] == (3, 2)
    assert np.isfinite(first.p_t_first).all() and (first.tokens_in > 0).all()

    def never() -> LoadedModel:
        raise AssertionError("the model is not needed")

    again = asked(never, PROMPTS, tmp_path)
    assert again.ids == first.ids and again.texts == first.texts
    np.testing.assert_array_equal(again.hidden, first.hidden)
    np.testing.assert_array_equal(again.p_t_mean, first.p_t_mean)


@pytest.mark.slow
def test_both_times_of_each_prompt_are_measured() -> None:
    loaded = load_model(SMALL)
    taken = measured(loaded, loaded.fingerprint(1), PROMPTS.ids, PROMPTS.texts, most_tokens=3)
    assert taken.ids == PROMPTS.ids
    assert (taken.read_s >= 0).all() and (taken.whole_s > 0).all()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(RealModelError, match=r"other\.gguf has the SHA-256 .*, expected abc"):
        require_content(file, "abc")


def test_the_rows_that_choose_a_layer_are_a_fifth_and_always_the_same() -> None:
    names = [f"capital_of:{number}" for number in range(2000)]
    chosen = choosing(names)
    assert 0.16 < chosen.mean() < 0.24
    np.testing.assert_array_equal(chosen[:500], choosing(names[:500]))


@pytest.mark.slow
def test_prompts_read_together_are_answered_as_training_answers_them() -> None:
    loaded = load_model(SMALL)
    together = Reader(loaded=loaded, layers=(1, 2), max_new_tokens=3).answers(PROMPTS.ids, PROMPTS.texts)
    answerer = Answerer(
        loaded, layers=(1, 2), max_new_tokens=3, p_t_kind=PTKind.MEAN, other_kinds=(PTKind.FIRST_TOKEN,)
    )
    alone = answerer.answer(PROMPTS.texts)
    assert list(together.texts) == [one.text.strip() for one in alone]
    assert together.tokens_out.tolist() == [one.tokens_out for one in alone]
    assert together.tokens_in.tolist() == [one.tokens_in for one in alone]
    np.testing.assert_allclose(together.p_t_mean, [one.p_t for one in alone], rtol=1e-4)
    np.testing.assert_allclose(together.p_t_first, [one.other_p_t[PTKind.FIRST_TOKEN] for one in alone], rtol=1e-4)
    np.testing.assert_allclose(together.entropy, [one.entropy for one in alone], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(together.hidden, np.stack([one.hidden for one in alone]), rtol=5e-3, atol=5e-3)
