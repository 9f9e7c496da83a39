"""The committed recording, the figures made of it, and the page that shows them."""

import json
from pathlib import Path

import pytest

from benchmarks.paper.stand_ins import popqa_chain
from benchmarks.real_llm import weights
from benchmarks.real_llm.asked.forms import Form
from benchmarks.real_llm.judged.popqa_report import popqa_figures
from benchmarks.real_llm.judged.report import report
from benchmarks.real_llm.judged.table import BEGIN, END, render
from benchmarks.real_llm.recording import FACTS, FOLDER, POPQA, read_table

ROOT = Path(__file__).parents[3]
FIGURES = json.loads((ROOT / "benchmarks" / "results" / "real_llm.json").read_text())["figures"]


def test_the_page_shows_the_committed_figures() -> None:
    page = (ROOT / "docs" / "real_llm.md").read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0].strip() == render(FIGURES).strip()


def test_the_recording_is_small_and_of_the_pinned_weights() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 8_000_000
    table = read_table(FOLDER / POPQA)
    assert table.made["gguf_sha256"] == weights.SHA256 == FIGURES["gguf_sha256"]
    ((said,),) = table.outcomes.values()
    assert said.hidden is not None and said.fingerprint is not None and len(said.id) == 1000

    facts = read_table(FOLDER / FACTS)
    assert facts.made["gguf_sha256"] == weights.SHA256 and set(facts.outcomes) == set(Form)
    for closed, opened in facts.outcomes.values():
        assert closed.hidden is not None and opened.hidden is None and closed.id == opened.id


def test_what_was_said_on_popqa_gives_the_committed_figures_again() -> None:
    said = popqa_figures(read_table(FOLDER / POPQA), draws=0)
    assert said == {name: FIGURES[name] for name in said} and len(said) > 20
    (answers,) = popqa_chain().tiers
    assert answers.correct.mean() == pytest.approx(FIGURES["popqa.accuracy"], abs=1e-6)


@pytest.mark.slow
def test_one_draw_gives_figures_of_the_committed_names() -> None:
    again = report(draws=1, untaught_draws=0)
    assert set(again) <= set(FIGURES)
    recorded = [name for name in again if ".tier" in name or ".kind." in name]
    assert len(recorded) > 40 and all(again[name] == FIGURES[name] for name in recorded)
    assert abs(float(again["popqa.signal.p_t_mean"]) - float(FIGURES["popqa.signal.p_t_mean"])) < 0.1  # type: ignore[arg-type]
