"""From a recording to certificates: what teaches is never tested, a gate that ends a tier early
saves what it would have written, and files come back as they were.
"""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_llm.errors import RealModelError
from benchmarks.real_llm.judged.draws import teach
from benchmarks.real_llm.judged.means import Means
from benchmarks.real_llm.judged.outcome_file import MODELS, write_outcome_table
from benchmarks.real_llm.judged.prices import SEARCH_USD, Pricing, costs_of, token_seconds
from benchmarks.real_llm.judged.report import report
from benchmarks.real_llm.judged.table import render
from benchmarks.real_llm.judged.ways import WAYS, targets_of, tried
from benchmarks.real_llm.judged.worth import worths
from benchmarks.real_llm.recording import FACTS, Outcomes, Table, read_table, write_table
from factories import make_fingerprint
from services.outcome_tables.outcomes import read_outcomes

MADE = {"weights": "a wheel", "gguf_sha256": "0", "dtype": "float32", "processor": "one"}
KINDS = ("capital_of", "state_of_town")


def outcomes(n: int = 900, *, tier: int = 0, seed: int = 0) -> Outcomes:
    """A model whose state says whether it knows; with the book open it nearly always does."""
    draw = np.random.default_rng(seed)
    knows = draw.random(n) < 0.5
    right = np.where(knows, draw.random(n) < 0.97, draw.random(n) < 0.1) if tier == 0 else draw.random(n) < 0.9
    hidden = draw.normal(size=(n, 8)).astype(np.float16)
    hidden[:, 0] += np.where(knows, 3, -3).astype(np.float16)
    tokens_in, tokens_out = draw.integers(40, 60, n).astype(float), draw.integers(2, 12, n).astype(float)
    measured = np.arange(n) < 40
    names = tuple(f"q{number}" for number in range(n))
    return Outcomes(
        id=names,
        kind=tuple(KINDS[number % 2] for number in range(n)),
        question=tuple(f"What is {name}?" for name in names),
        accepted=(("Oslo", "Kristiania"),) * n,
        answer=tuple(f"{tier}{name}" for name in names),
        correct=right.astype(float),
        p_t_first=draw.uniform(0.2, 1.0, n),
        p_t_mean=draw.uniform(0.2, 1.0, n),
        entropy=draw.uniform(0.0, 2.0, n),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        read_s=np.where(measured, 0.001 * tokens_in, np.nan),
        whole_s=np.where(measured, 0.001 * tokens_in + 0.03 * tokens_out, np.nan),
        chose_layer=np.arange(n) % 5 == 0,
        hidden=hidden if tier == 0 else None,
        fingerprint=make_fingerprint(layer=20) if tier == 0 else None,
    )


@pytest.fixture(scope="module")
def tiers() -> tuple[Outcomes, ...]:
    return outcomes(), outcomes(tier=1, seed=1)


def test_a_recording_comes_back_as_it_was(tiers: tuple[Outcomes, ...], tmp_path: Path) -> None:
    given = {"weights": "a wheel"}
    write_table(Table(outcomes={"short": tiers, "sentence": tiers[:1]}, made=given), tmp_path / "table.parquet")
    read = read_table(tmp_path / "table.parquet")
    assert read.made == given and list(read.outcomes) == ["short", "sentence"]
    for written, again in zip((*tiers, tiers[0]), (*read.outcomes["short"], *read.outcomes["sentence"]), strict=True):
        for item in fields(Outcomes):
            one, other = getattr(written, item.name), getattr(again, item.name)
            if isinstance(one, np.ndarray):
                np.testing.assert_allclose(one, other, rtol=1e-6)
            else:
                assert one == other
    (tmp_path / "table.parquet").write_bytes(b"no parquet")
    with pytest.raises(RealModelError, match="make it with `record`"):
        read_table(tmp_path / "table.parquet")


def test_a_token_that_is_read_and_one_that_is_written_cost_what_was_measured(tiers: tuple[Outcomes, ...]) -> None:
    rate = token_seconds(tiers[0])
    assert (rate.read, rate.written, rate.n) == (pytest.approx(0.001), pytest.approx(0.03), 40)
    assert rate.error == pytest.approx(0.0, abs=1e-9)
    priced = costs_of(tiers, Pricing.PROCESSOR)
    np.testing.assert_allclose(priced.tiers[0], 0.001 * tiers[0].tokens_in + 0.03 * tiers[0].tokens_out)
    assert priced.early == {0: pytest.approx(1 / 30)}
    searched = costs_of(tiers, Pricing.SEARCH)
    assert (searched.tiers[0] < 0.001).all() and (searched.tiers[1] > SEARCH_USD).all()


@pytest.mark.slow
def test_what_teaches_is_never_looked_at(tiers: tuple[Outcomes, ...]) -> None:
    taught, other = (teach(tiers, draw) for draw in (0, 1))
    assert not (taught.unseen & tiers[0].chose_layer).any()
    assert not (taught.later & (taught.split.parts == "certification")).any()
    assert 0.2 < taught.later.mean() < 0.3 and (taught.later != other.later).any()
    strange = teach(tiers, 0, untaught=KINDS[1])
    of_kind = np.array(tiers[0].kind) == KINDS[1]
    assert set(strange.split.parts[of_kind]) == {"certification", "left_out"}
    np.testing.assert_array_equal(strange.unseen, taught.unseen)


@pytest.mark.slow
def test_a_gate_before_the_answer_saves_more(tiers: tuple[Outcomes, ...]) -> None:
    taught = teach(tiers, 0)
    ways = {way.name: way for way in WAYS}
    costs = costs_of(tiers, Pricing.SEARCH)
    last = costs.tiers[-1]
    dear = replace(costs, tiers=(costs.tiers[0] * 0.3 * last.mean() / costs.tiers[0].mean(), last))
    first, early = (tried(tiers, taught, ways[name], dear, targets_of(0.05, 0.1)) for name in ("p_ik", "p_ik_early"))
    assert first.by_rule and early.by_rule and first.kept.retained > 0.3
    assert early.kept.skipped == pytest.approx(1 - early.kept.retained) and first.kept.skipped == 0.0
    assert early.kept.savings > first.kept.savings + 0.05
    assert set(early.by_kind) == set(KINDS)


@pytest.mark.slow
def test_p_ik_tells_what_the_state_says_and_p_t_nothing(tiers: tuple[Outcomes, ...]) -> None:
    said = dict(worths(tiers[0], teach(tiers, 0)))
    assert said["p_ik"] > 0.9 and abs(said["p_t_mean"] - 0.5) < 0.1
    assert said["gain.p_ik.auroc"] > 0.3 and said["gain.score.within_slices"] > 0.3
    assert f"{KINDS[0]}.p_ik" in said


def test_means_have_their_standard_errors_and_leave_out_what_is_unknown() -> None:
    means = Means()
    for value in (1.0, 3.0, float("nan")):
        means.add("a", [("b", value)])
    means.add("a", [("c", 1.0)])
    assert means.flat() == {"a.b": 2.0, "a.b.se": 1.0, "a.c": 1.0, "a.c.se": None}


def test_a_form_is_an_outcome_table_that_holds_what_was_recorded(tiers: tuple[Outcomes, ...], tmp_path: Path) -> None:
    write_outcome_table(tiers, tmp_path / "outcomes.parquet")
    table = read_outcomes(tmp_path / "outcomes.parquet")
    assert tuple(table.models) == MODELS and len(table.query_ids) == len(tiers[0].id)
    assert table.correct.mean(axis=0).tolist() == pytest.approx([tier.correct.mean() for tier in tiers])
    assert (table.cost_usd[:, 1] > SEARCH_USD).all()


@pytest.mark.slow
def test_a_page_shows_what_is_recorded_and_nothing_else(tiers: tuple[Outcomes, ...], tmp_path: Path) -> None:
    write_table(Table(outcomes={"short": tiers, "sentence": tiers}, made=MADE), tmp_path / FACTS)
    figures = report(draws=1, untaught_draws=0, folder=tmp_path)
    page = render(figures)
    assert "### Certified: answers in a sentence" in page and "PopQA" not in page
    nothing = figures["short.processor.0.02.p_t_mean.certified"] == 0.0
    assert not nothing or figures["short.processor.0.02.p_t_mean.savings"] == 0.0
    with pytest.raises(RealModelError, match="make it with `record`"):
        report(draws=1, untaught_draws=0, folder=tmp_path / "empty")
