"""The demo's questions are real, unambiguous and the same on every machine."""

from __future__ import annotations

from collections import Counter

import pytest

from demo.facts import (
    PHRASES,
    Family,
    Question,
    load_questions,
    traffic,
    traffic_weight,
    withheld_ids,
)


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return load_questions()


def _question(name: str, *, popularity: int, family: Family = Family.COUNTRY_OF) -> Question:
    return Question(
        question_id=f"{family.value}:{name}",
        family=family,
        prompt=f"{PHRASES[family]}{name}:",
        answer="Somewhere",
        popularity=popularity,
    )


def test_loading_twice_gives_the_same_questions(questions: tuple[Question, ...]) -> None:
    assert load_questions() == questions


def test_every_family_offers_thousands_of_questions(questions: tuple[Question, ...]) -> None:
    counts = Counter(question.family for question in questions)
    assert set(counts) == set(Family)
    assert min(counts.values()) >= 2_000


def test_no_prompt_has_two_answers(questions: tuple[Question, ...]) -> None:
    prompts = Counter(question.prompt for question in questions)
    assert max(prompts.values()) == 1
    assert len({question.question_id for question in questions}) == len(questions)


def test_an_ambiguous_name_means_the_most_populous_place(questions: tuple[Question, ...]) -> None:
    answers = {question.prompt: question.answer for question in questions}
    assert answers["country of london:"] == "United Kingdom"
    assert answers["country of nagoya:"] == "Japan"
    assert answers["country of каир:"] == "Egypt"
    assert answers["state of portland:"] == "Oregon"


def test_prompts_are_lower_case_and_answers_begin_with_a_capital(questions: tuple[Question, ...]) -> None:
    assert all(question.prompt == question.prompt.lower() for question in questions)
    assert all(question.answer[0].isupper() for question in questions)


def test_about_an_eighth_of_the_facts_is_withheld_and_mostly_rare_ones(questions: tuple[Question, ...]) -> None:
    withheld = withheld_ids(questions)
    assert 0.10 <= len(withheld) / len(questions) <= 0.15
    for family in Family:
        ranked = [question.question_id in withheld for question in questions if question.family is family]
        half = len(ranked) // 2
        assert sum(ranked[:half]) < sum(ranked[half:])


def test_withholding_does_not_depend_on_the_order_of_the_questions(questions: tuple[Question, ...]) -> None:
    assert withheld_ids(reversed(questions)) == withheld_ids(questions)


def test_the_same_seed_gives_the_same_traffic_and_another_seed_other_traffic(
    questions: tuple[Question, ...],
) -> None:
    mix = {"country_of": 0.7, "state_of": 0.3}
    first = traffic(questions, family_mix=mix, count=200, seed=7)
    assert first == traffic(questions, family_mix=mix, count=200, seed=7)
    assert first != traffic(questions, family_mix=mix, count=200, seed=8)


def test_traffic_keeps_to_the_mix_of_families(questions: tuple[Question, ...]) -> None:
    drawn = traffic(questions, family_mix={"country_of": 3, "state_of": 1}, count=4_000, seed=11)
    counts = Counter(question.family for question in drawn)
    assert counts[Family.COUNTRY_OF_CYRILLIC] == 0
    # Four standard errors of a share of .75 over 4000 draws.
    assert counts[Family.COUNTRY_OF] / 4_000 == pytest.approx(0.75, abs=0.028)


def test_traffic_asks_a_place_of_a_hundredfold_population_ten_times_as_often() -> None:
    village, city = _question("village", popularity=100), _question("city", popularity=10_000)
    assert traffic_weight(city) / traffic_weight(village) == pytest.approx(10.0)
    drawn = traffic([village, city], family_mix={"country_of": 1.0}, count=5_000, seed=3)
    # Four standard errors of a share of 10/11 over 5000 draws.
    assert drawn.count(city) / 5_000 == pytest.approx(10 / 11, abs=0.017)
