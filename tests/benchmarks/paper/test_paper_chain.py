"""From answers to the paper's figures: the rule is the paper's, and what teaches is never what is
asked.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper.answer_files import ModelAnswers, read_answers, write_answers
from benchmarks.paper.chain import best_threshold, chain_of, teach_chain
from benchmarks.paper.errors import PaperError
from benchmarks.paper.experiment import Rule, kept_in, measure, sweep
from benchmarks.paper.published import SETTINGS
from benchmarks.paper.reproduce import reproduce
from benchmarks.paper.stand_ins import StandIn
from benchmarks.paper.table import render
from factories import make_fingerprint
from training.probes.probe_settings import FitSettings

QUICK = FitSettings(penalties=(0.3,), mlp_penalties=(), max_epochs=25)
FINGERPRINT = make_fingerprint(
    revision="1", dtype="float32", engine="made", engine_version="1", chat_template_sha256="", layer=4
)


def answers(model: str, n: int = 1200, *, seed: int = 0, start: int = 0, **changes: Any) -> ModelAnswers:
    """A model that is right where its state says so more often than not; states only for the small
    one.
    """
    draw = np.random.default_rng(seed)
    knows = draw.random(n) < 0.6
    p_t = np.where(knows, draw.uniform(0.7, 1.0, n), draw.uniform(0.3, 0.95, n))
    hidden = draw.normal(size=(n, 1, 6)).astype(np.float16)
    hidden[:, 0, 0] += np.where(knows, 2, -2).astype(np.float16)
    ids = tuple(f"q{number}" for number in range(start, start + n))
    given: dict[str, Any] = {
        "model": model,
        "parameters": 1e9,
        "data_set": "made",
        "ids": ids,
        "slices": ("all",) * n,
        "prompts": tuple(f"prompt {name}" for name in ids),
        "answers": ("A",) * n,
        "correct": np.where(knows, draw.random(n) < 0.95, draw.random(n) < 0.2).astype(float),
        "abstained": np.zeros(n, dtype=bool),
        "p_t": p_t,
        "entropy": np.full(n, np.nan),
        "tokens_in": np.full(n, 99.0),
        "tokens_out": np.ones(n),
        "latency_ms": np.full(n, 5.0),
        "hidden": hidden if model == "small" else None,
        "fingerprints": (FINGERPRINT,) if model == "small" else (),
    }
    return ModelAnswers(**(given | changes))


def large(n: int = 1200, **changes: Any) -> ModelAnswers:
    return answers("large", n, seed=5, parameters=10e9, **changes)


def test_files_of_answers_come_back_as_they_were(tmp_path: Path) -> None:
    written = answers("small", 7, p_t=np.array([0.5, np.nan, 0.1, 0.2, 0.3, 0.4, 1.0]))
    write_answers(written, tmp_path)
    read = read_answers(tmp_path, "made", "small")
    assert read is not None and read.hidden is not None and written.hidden is not None
    for name in ("model", "parameters", "ids", "prompts", "answers", "fingerprints"):
        assert getattr(read, name) == getattr(written, name)
    np.testing.assert_array_equal(read.p_t, written.p_t)
    np.testing.assert_array_equal(read.hidden, written.hidden)
    assert read_answers(tmp_path, "made", "another") is None
    (tmp_path / "made" / "small.parquet").write_bytes(b"no parquet")
    with pytest.raises(PaperError, match="gather them again"):
        read_answers(tmp_path, "made", "small")


def test_states_of_other_questions_are_refused(tmp_path: Path) -> None:
    write_answers(answers("small", 7), tmp_path)
    write_answers(answers("small", 7, start=3), tmp_path / "other")
    (tmp_path / "other" / "made" / "small.npz").replace(tmp_path / "made" / "small.npz")
    with pytest.raises(PaperError, match="other questions"):
        read_answers(tmp_path, "made", "small")


def test_a_chain_is_of_the_questions_that_every_model_answered() -> None:
    chain = chain_of([answers("small", 10), large(10, start=4)])
    assert chain.tiers[0].ids == chain.tiers[1].ids == tuple(f"q{number}" for number in range(4, 10))
    with pytest.raises(PaperError, match="no question in common"):
        chain_of([answers("small", 3), large(3, start=3)])


def test_the_rule_is_the_papers_and_nothing_that_taught_is_asked() -> None:
    taught = teach_chain(chain_of([answers("small"), large()]), settings=QUICK)
    assert 0.4 < taught.asked.mean() < 0.6
    kept = kept_in(taught, Rule())
    p_t, p_ik = taught.signals[0]["p_t"], taught.signals[0]["p_ik"]
    np.testing.assert_array_equal(kept == 0, (p_t >= 0.9) & (p_ik >= 0.5))
    np.testing.assert_array_equal(kept_in(taught, Rule(p_ik=None)) == 0, p_t >= 0.9)
    figures = measure(taught, Rule())
    assert figures.n == int(taught.asked.sum())
    tier = figures.tiers[0]
    assert tier.auroc_p_ik is not None and tier.auroc_p_ik > 0.8 and tier.probed_layer == 4
    assert figures.retained_share == pytest.approx((kept[taught.asked] == 0).mean())
    assert figures.savings == pytest.approx(figures.retained_share - 0.1)  # the small model costs a tenth
    assert figures.gflops_last == pytest.approx(2 * 10e9 * 100 / 1e9)  # 2 · parameters · tokens
    assert figures.gflops == pytest.approx(figures.gflops_last * (1 - figures.savings))
    assert figures.accuracy_drop == pytest.approx(figures.accuracy_last - figures.accuracy)
    assert figures.last_tokens_out == pytest.approx(1 - figures.retained_share)
    assert figures.hallucination == pytest.approx(1 - figures.accuracy)


def test_a_tuned_threshold_is_the_probes_own_and_helps_macro_f1() -> None:
    taught = teach_chain(chain_of([answers("small"), large()]), settings=QUICK)
    (best,) = taught.tuned_p_ik
    assert best is not None and 0.0 < best < 1.0
    kept = kept_in(taught, Rule(tuned=True))
    np.testing.assert_array_equal(kept == 0, (taught.signals[0]["p_t"] >= 0.9) & (taught.signals[0]["p_ik"] >= best))
    assert best_threshold(np.array([0.5]), np.array([1.0])) is None


def test_a_tier_without_states_is_gated_by_p_t_alone() -> None:
    taught = teach_chain(chain_of([answers("small", hidden=None, fingerprints=()), large()]))
    assert taught.asked.all() and taught.learned == (None,)
    np.testing.assert_array_equal(kept_in(taught, Rule()), kept_in(taught, Rule(p_ik=None)))
    assert {point.way for point in sweep(taught)} == {"without_p_ik"}


def test_probes_can_be_taught_on_another_data_set_and_then_every_question_is_asked() -> None:
    teaching = chain_of([answers("small"), large()])
    asked = chain_of([answers("small", 300, seed=9, start=5000), large(300, start=5000)])
    taught = teach_chain(asked, taught_on=teaching, settings=QUICK)
    assert taught.asked.all() and len(taught.asked) == 300
    assert len(taught.signals[0]["p_ik"]) == 300 and np.isfinite(taught.signals[0]["p_ik"]).all()
    assert measure(taught, Rule()).tiers[0].auroc_p_ik is not None
    stranger = chain_of([answers("small", 300, fingerprints=()), large(300)])
    with pytest.raises(PaperError, match="gather the same model"):
        teach_chain(stranger, taught_on=teaching)


def test_a_bolder_p_t_retains_no_less_and_p_ik_only_ever_escalates_more() -> None:
    taught = teach_chain(chain_of([answers("small"), large()]), settings=QUICK)
    points = {(point.way, point.p_t): point for point in sweep(taught)}
    shares = [points["with_p_ik", at].retained_share for at in sorted({p_t for _, p_t in points})]
    assert shares == sorted(shares, reverse=True) and len(shares) == 10
    assert all(points["without_p_ik", at].retained_share >= points["with_p_ik", at].retained_share for _, at in points)


def test_three_tiers_and_an_undisclosed_size() -> None:
    middle = answers("middle", seed=3, parameters=3e9, hidden=None, fingerprints=())
    small = answers("small", hidden=None, fingerprints=())
    figures = measure(teach_chain(chain_of([small, middle, large()])), Rule(p_ik=None))
    assert len(figures.tiers) == 2 and figures.savings is not None
    undisclosed = measure(teach_chain(chain_of([small, replace(large(), parameters=None)])), Rule(p_ik=None))
    assert undisclosed.savings is None and undisclosed.last_tokens_out is not None
    assert undisclosed.gflops is None
    unknown_tokens = replace(large(), tokens_out=np.full(1200, np.nan))
    recorded = measure(teach_chain(chain_of([small, unknown_tokens])), Rule(p_ik=None))
    assert recorded.savings is not None and recorded.gflops is None and recorded.gflops_last is None


def test_the_table_is_filled_from_gathered_answers_and_names_what_it_lacks(tmp_path: Path) -> None:
    for model in ("llama-3.1-8b", "llama-3.3-70b"):
        write_answers(answers(model, 400, seed=len(model), data_set="mmlu"), tmp_path)
    figures = reproduce(tmp_path, ())
    assert figures["settings"] == len(SETTINGS)
    lacking = str(figures["not_filled"]).split(", ")
    assert "llama_8b_70b" not in lacking and {"llama_3b_8b_70b", "gpqa_8b_70b", "gpt_4o"} <= set(lacking)
    assert figures["llama_8b_70b.paper.accuracy"] == 0.8322
    assert figures["llama_70b.same.n"] == 400
    page = render(figures)
    assert all(setting.title in page for setting in SETTINGS)


def test_a_stand_in_never_counts_as_the_papers_models() -> None:
    taught = teach_chain(chain_of([answers("small"), large()]), settings=QUICK)
    figures = reproduce(None, [StandIn(key="demo", taught=taught)])
    assert figures["settings_on_their_models"] == 0
    assert "llama_8b_70b.demo.accuracy" in figures and "llama_8b_70b.demo_tuned_p_ik.accuracy" in figures
    assert not any(".same." in name for name in figures)
    assert "llama_8b_70b" in str(figures["not_filled"])
    assert "llama_8b_70b" not in str(figures["not_filled_nor_stood_in"]).split(", ")
