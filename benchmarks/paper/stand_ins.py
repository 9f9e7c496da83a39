"""What stands in where the paper's models are not at hand: the demo's real pair, and recorded
outcomes of real models.

The demo's pair goes the whole way (answers, states, probe, rule). SmolLM2-135M answered the paper's
own PopQA, alone. Recorded outcomes carry no hidden
states, so they are gated by P(T) alone, and no token counts, so compute is proportional to
parameters. Recorded vectors carry states and no P(T): they show what P(IK) is worth.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.paper.answer_files import ModelAnswers
from benchmarks.paper.catalogue import PaperModel
from benchmarks.paper.chain import Chain, TaughtChain, chain_of, teach_chain
from benchmarks.paper.errors import PaperError
from benchmarks.paper.local import answer_locally, load
from benchmarks.paper.questions import Kind, Question
from benchmarks.real_llm import recording as real_llm
from benchmarks.real_llm import weights
from benchmarks.shape import recorded_data
from knowgate._records.arrays import FloatArray, IntArray
from knowgate._records.records import Fingerprint
from services.outcome_tables.outcomes import OutcomeTable, read_outcomes

SEED = 7
POPQA_MODEL = "smollm2_135m"
SIZES: dict[str, tuple[float | None, ...]] = {  # parameters of the recorded models; None = undisclosed
    "mmlu_llama3_8b_70b": (8e9, 70e9),
    "arc_llama3_8b_70b": (8e9, 70e9),
    "arc_llama2_7b_13b_70b": (7e9, 13e9, 70e9),
    "hellaswag_llama2_7b_13b_70b": (7e9, 13e9, 70e9),
    "hellaswag_llama3_70b_gpt4": (70e9, None),
    "mmlu_gpt35_gpt4": (None, None),
    "arc_gpt35_gpt4": (None, None),
}
VECTORS = ("hidden_qwen25_0.5b_7b", "hidden_qwen25_1.5b_14b")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandIn:
    """A cascade that was really measured, under the name that the table calls it by."""

    key: str
    taught: TaughtChain


def stand_ins(*, quick: bool) -> Iterator[StandIn]:
    """All that can be measured here; recorded data are left out where there are none."""
    yield from demo_stand_ins(quick=quick)
    yield StandIn(key=POPQA_MODEL, taught=teach_chain(popqa_chain()))
    folder = recorded_data()
    if folder is None:
        logging.getLogger(__name__).warning("no recorded outcomes: set KNOWGATE_RECORDED_DATA to their folder")
        return
    for name in SIZES:
        if (folder / f"{name}.parquet").is_file():
            yield StandIn(key=name, taught=teach_chain(recorded_chain(folder / f"{name}.parquet")))
    for name in VECTORS:
        if (folder / f"{name}.npz").is_file():
            yield StandIn(key=name, taught=teach_chain(recorded_vectors(folder / f"{name}.npz")))


def demo_stand_ins(*, quick: bool) -> Iterator[StandIn]:
    """The demo's pair on the questions that its probe is taught, and on ones it has never seen."""
    from demo.facts import Family

    asked = 2500 if quick else 6000
    everyday = _demo_chain({str(Family.COUNTRY_OF): 1.0}, "places", asked, SEED)
    yield StandIn(key="demo", taught=teach_chain(everyday))
    elsewhere = {str(Family.STATE_OF): 0.5, str(Family.COUNTRY_OF_CYRILLIC): 0.5}
    strange = _demo_chain(elsewhere, "strange_places", asked // 3, SEED + 1)
    yield StandIn(key="demo_unseen_families", taught=teach_chain(strange, taught_on=everyday))


def popqa_chain() -> Chain:
    """What SmolLM2-135M said to the paper's PopQA, open-ended, as `benchmarks.real_llm` recorded
    it: one model, which answers alone.
    """
    ((said,),) = real_llm.read_table(real_llm.FOLDER / real_llm.POPQA).outcomes.values()
    assert said.abstained is not None
    bare = _bare(POPQA_MODEL, "popqa", said.id, said.correct, weights.PARAMETERS)
    return Chain(
        tiers=(
            replace(
                bare,
                slices=said.kind,
                prompts=said.question,
                answers=said.answer,
                abstained=said.abstained,
                p_t=said.p_t_mean,
                tokens_in=said.tokens_in,
                tokens_out=said.tokens_out,
            ),
        )
    )


def recorded_chain(path: Path) -> Chain:
    """Recorded outcomes as answers: the queries with every tier's P(T) and correctness. Raises
    PaperError for none.
    """
    table = read_outcomes(path)
    rows = np.flatnonzero(np.isfinite(table.correct).all(axis=1) & np.isfinite(table.p_t[:, :-1]).all(axis=1))
    if rows.size == 0:
        raise PaperError(f"{path.name} has no query with every tier's outcome")
    sizes = SIZES.get(path.stem, (None,) * table.tiers)
    return Chain(tiers=tuple(_recorded_tier(table, tier, rows, path.stem, sizes[tier]) for tier in range(table.tiers)))


def recorded_vectors(path: Path) -> Chain:
    """Recorded hidden states of a small model, with its correctness and that of a large one (honest
    rows).
    """
    with np.load(path, allow_pickle=False) as file:
        honest = file["condition"] == "honest"
        hidden = file["hidden"][honest][:, None, :]
        statements = file["statement_id"][honest]
        right = [file[name][honest].astype(np.float64) for name in ("correct", "large_correct")]
        layer = int(file["layer"])
    names = path.stem.removeprefix("hidden_").split("_")
    fingerprint = Fingerprint(
        model=f"{names[0]}-{names[1]}",
        revision="recorded",
        dtype="float16",
        engine="recorded",
        engine_version="1",
        chat_template_sha256="",
        layer=layer,
        position="first_answer_token",
        normed=False,
    )
    ids = tuple(f"statement-{number}" for number in statements)
    small, large = (_bare(f"{names[0]}-{size}", path.stem, ids, at) for size, at in zip(names[1:], right, strict=True))
    return Chain(tiers=(replace(small, hidden=hidden, fingerprints=(fingerprint,)), large))


def demo_questions(mix: Mapping[str, float], data_set: str, count: int, seed: int) -> list[Question]:
    """Questions of the demo's traffic: popular places are asked for more than once, as they would
    be.
    """
    from demo.facts import load_questions, traffic

    drawn = traffic(load_questions(), family_mix=dict(mix), count=count, seed=seed)
    return [
        Question(
            id=f"{data_set}-{number}",
            data_set=data_set,
            slice=str(one.family),
            prompt=one.prompt,
            kind=Kind.EXACT,
            accepted=(one.answer,),
        )
        for number, one in enumerate(drawn)
    ]


def _demo_chain(mix: Mapping[str, float], data_set: str, count: int, seed: int) -> Chain:
    from demo.pair import LARGE, SMALL

    questions = demo_questions(mix, data_set, count, seed)
    tiers = []
    for name, folder in (("demo-small", SMALL), ("demo-large", LARGE)):
        loaded = load(PaperModel(name=name, source=str(folder), parameters=None))
        tiers.append(answer_locally(loaded, questions, batch=256))
    return chain_of(tiers)


def _recorded_tier(
    table: OutcomeTable, tier: int, rows: IntArray, data_set: str, parameters: float | None
) -> ModelAnswers:
    ids = tuple(str(table.query_ids[row]) for row in rows)
    bare = _bare(table.models[tier], data_set, ids, table.correct[rows, tier], parameters)
    return replace(bare, p_t=table.p_t[rows, tier], slices=tuple(str(table.slice[row]) for row in rows))


def _bare(
    model: str, data_set: str, ids: tuple[str, ...], correct: FloatArray, parameters: float | None = None
) -> ModelAnswers:
    """Answers of which nothing is known but whether they were right; every prompt counts as one
    token.
    """
    n = len(ids)
    unknown = np.full(n, np.nan)
    return ModelAnswers(
        model=model,
        parameters=parameters,
        data_set=data_set,
        ids=ids,
        slices=(data_set,) * n,
        prompts=ids,
        answers=("",) * n,
        correct=correct,
        abstained=np.zeros(n, dtype=np.bool_),
        p_t=unknown,
        entropy=unknown,
        tokens_in=np.ones(n),
        tokens_out=unknown,
        latency_ms=unknown,
    )
