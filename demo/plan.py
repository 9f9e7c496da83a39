"""What happens in the demo: the cascade it declares, and the traffic it plays. Nothing here knows
how it ends.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from demo.facts import Family, Question, traffic
from demo.pair import MODELS
from knowgate.policy import PolicyKind
from knowgate.spec import Alarms, CascadeSpec, Horizons, Observe, Price, Privacy, Schedule, Targets, TierSpec
from services.simulation.traffic import Asked, Labelling

START = datetime(2026, 3, 5, tzinfo=UTC)  # windows are aligned to the epoch, a Thursday
SEED = 20260305
QUERIES_PER_DAY = 600
LABELLING = Labelling(share=0.9, median_delay=timedelta(hours=30), spread=0.5)
HORIZON = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A stretch of time with one mix of traffic."""

    title: str
    days: int
    mix: dict[str, float]  # family → share


CHAPTERS = (
    Chapter(title="everyday traffic: cities by their Latin names", days=21, mix={Family.COUNTRY_OF: 1.0}),
    Chapter(
        title="a new market: half of the questions are of a kind that the probe has not seen",
        days=28,
        mix={Family.COUNTRY_OF: 0.5, Family.STATE_OF: 0.5},
    ),
)


def demo_spec(parameters: tuple[float, float], layers: tuple[int, ...]) -> CascadeSpec:
    """The demo's cascade, for a pair of models of these sizes; the small one's `layers` are all
    searched.
    """
    return CascadeSpec(
        name="places",
        tiers=(
            _tier("small", parameters[0], layers),
            _tier("large", parameters[1], ()),
        ),
        targets=Targets(value=0.03, delta=0.1, rule=PolicyKind.GATES),
        horizons=Horizons(gold=HORIZON),
        schedule=Schedule(monitor_every=timedelta(days=1)),
        alarms=Alarms(alpha=0.05, savings_margin=0.05, max_tokens=60),
        exploration_rate=0.2,
        observe=Observe(rate=1.0),  # there is little traffic, and the small model costs little
        privacy=Privacy.FULL,  # public facts; a layer can only be searched where prompts are kept
    )


def queries(questions: list[Question]) -> list[Asked]:
    """The whole traffic in order of time, evenly spread; the same in every run."""
    asked: list[Asked] = []
    start = START
    for number, chapter in enumerate(CHAPTERS):
        count = chapter.days * QUERIES_PER_DAY
        drawn = traffic(questions, family_mix=chapter.mix, count=count, seed=SEED + number)
        gap = timedelta(days=chapter.days) / count
        asked += [
            Asked(
                name=f"query-{len(asked) + position}",
                at=start + gap * position,
                prompt=question.prompt,
                slice=str(question.family),
            )
            for position, question in enumerate(drawn)
        ]
        start += timedelta(days=chapter.days)
    return asked


def _tier(name: str, parameters: float, layers: tuple[int, ...]) -> TierSpec:
    # Priced like a hosted pair: a token costs what the model's size says.
    usd = parameters / 1e6
    price = Price(since=START, usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)
    return TierSpec(
        name=name,
        model=str(MODELS / name),
        parameters=parameters,
        prices=(price,),
        backend="transformers",
        layers=layers,
    )
