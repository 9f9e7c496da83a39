"""Two deployments made of recorded answers, each with traffic that is another from one day on.

- `mmlu`: Llama-3 8B and 70B on questions of MMLU, thresholds on P(T); the humanities, then science
  and engineering. The small model is unsure of those, and mostly for a reason.
- `qwen`: Qwen2.5 1.5B with real hidden states of one layer, and 14B; thresholds on P(IK).
  Statements that are to be judged honestly, then the same under an instruction to lie: both models
  are at chance there, so a kept answer costs nothing, and the states are unlike what the probe has
  seen.

Questions are drawn with replacement, so a question comes again; its prompt says so, and no prompt
both teaches and certifies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from knowgate._records.records import Fingerprint
from knowgate.policy import PolicyKind
from knowgate.spec import Alarms, CascadeSpec, Horizons, Observe, Price, Privacy, Schedule, Targets, TierSpec
from services.outcome_tables.outcomes import read_outcomes
from services.simulation.traffic import Answer, Asked

START = datetime(2026, 3, 5, tzinfo=UTC)  # windows are aligned to the epoch, a Thursday
BEFORE, AFTER = timedelta(days=11), timedelta(days=10)
SHIFT = START + BEFORE
HORIZON = timedelta(days=2)
PERIOD = timedelta(days=7)  # a training at its turn only, so that what rings is not learned from at once
TOKENS_IN, TOKENS_OUT = 200, 1
USD_PER_BILLION = 0.02  # per million tokens and billion parameters
MMLU, QWEN = "mmlu_llama3_8b_70b.parquet", "hidden_qwen25_1.5b_14b.npz"
_HUMANITIES = """formal_logic high_school_european_history high_school_us_history high_school_world_history
international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
professional_law world_religions"""
_STEM = """abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science
college_mathematics college_physics computer_security conceptual_physics electrical_engineering
elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
high_school_mathematics high_school_physics high_school_statistics machine_learning"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One deployment, and what its tiers answer."""

    name: str
    spec: CascadeSpec
    a_day: int  # queries
    kinds: tuple[str, str]  # what traffic is called before and after the shift
    before: tuple[str, ...]  # names of questions
    after: tuple[str, ...]
    answers: Mapping[str, tuple[Answer, Answer]]  # per question, cheapest tier first

    def answer(self, asked: Asked, tier: int) -> Answer:
        return self.answers[asked.prompt][tier]

    def queries(self, seed: int, share: float = 1.0) -> list[Asked]:
        """The whole traffic in order of time; of it a share."""
        rng = np.random.default_rng(seed)
        asked: list[Asked] = []
        halves = ((START, BEFORE, self.before), (SHIFT, AFTER, self.after))
        for (start, length, names), kind in zip(halves, self.kinds, strict=True):
            count = round(self.a_day * share * length / timedelta(days=1))
            drawn = rng.choice(np.array(names), count)
            asked += [
                Asked(name=f"q{len(asked) + i}", at=start + i * length / count, prompt=str(name), slice=kind)
                for i, name in enumerate(drawn)
            ]
        return asked


def mmlu(folder: Path) -> World:
    """Raises InputInvalid where the table cannot be read."""
    table = read_outcomes(folder / MMLU)

    def answer(row: int, tier: int) -> Answer:
        return _answer(table.correct[row, tier], p_t=float(table.p_t[row, tier]))

    answers = {str(name): (answer(row, 0), answer(row, 1)) for row, name in enumerate(table.query_ids)}
    names: dict[str, list[str]] = {kind: [] for kind in (_HUMANITIES, _STEM)}
    for row, name in enumerate(table.query_ids):
        for kind, found in names.items():
            if str(table.slice[row]) in kind.split():
                found.append(str(name))
    return World(
        name="mmlu",
        spec=_spec("mmlu", ("Llama-3-8B-Instruct", "Llama-3-70B-Instruct"), (8e9, 70e9), PolicyKind.P_T, 0.03),
        a_day=240,
        kinds=("humanities", "stem"),
        before=tuple(names[_HUMANITIES]),
        after=tuple(names[_STEM]),
        answers=answers,
    )


def qwen(folder: Path) -> World:
    """The states are those of the small model's layer that was recorded."""
    with np.load(folder / QWEN) as kept:
        hidden, condition, statement = kept["hidden"], kept["condition"], kept["statement_id"]
        right, large, layer = kept["correct"], kept["large_correct"], int(kept["layer"])
    spec = _spec("qwen", ("Qwen2.5-1.5B-Instruct", "Qwen2.5-14B-Instruct"), (1.5e9, 14e9), PolicyKind.P_IK, 0.05)
    fingerprint = Fingerprint(
        model=spec.tiers[0].model,
        revision="main",
        dtype="float16",
        engine="recorded",
        engine_version="1",
        chat_template_sha256="0" * 64,
        layer=layer,
        position="last_prompt_token",
        normed=False,
    )
    names = [f"{kind}-{number}" for kind, number in zip(condition, statement, strict=True)]
    answers = {
        name: (_answer(right[i], hidden=hidden[i], fingerprint=fingerprint), _answer(large[i]))
        for i, name in enumerate(names)
    }
    return World(
        name="qwen",
        spec=spec,
        a_day=200,
        kinds=("honest", "lie"),
        before=tuple(name for name in names if name.startswith("honest")),
        after=tuple(name for name in names if name.startswith("lie")),
        answers=answers,
    )


def _answer(correct: float, **signals: object) -> Answer:
    shown = {"tokens_in": TOKENS_IN, "tokens_out": TOKENS_OUT, **signals}
    return Answer(correct=float(correct), **shown)  # type: ignore[arg-type]


def _spec(name: str, models: Sequence[str], sizes: Sequence[float], rule: PolicyKind, allowed: float) -> CascadeSpec:
    def tier(model: str, size: float) -> TierSpec:
        usd = USD_PER_BILLION * size / 1e9
        price = Price(since=START, usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)
        return TierSpec(name=model.lower(), model=model, parameters=size, prices=(price,))

    return CascadeSpec(
        name=name,
        tiers=tuple(tier(model, size) for model, size in zip(models, sizes, strict=True)),
        targets=Targets(value=allowed, delta=0.1, rule=rule),
        horizons=Horizons(gold=HORIZON),
        schedule=Schedule(monitor_every=timedelta(hours=12), train_pause=PERIOD, train_every=PERIOD),
        alarms=Alarms(max_tokens=TOKENS_IN + TOKENS_OUT),
        exploration_rate=0.2,
        observe=Observe(rate=1.0),
        privacy=Privacy.HASH,
    )
