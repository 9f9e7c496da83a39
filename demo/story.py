"""The story of a deployment: a real one on a simulated clock.

Cold start, late labels, the first certified probe, savings, a shift of traffic, what is noticed of
it and why, new labels, a new bundle, and the proof of every decision. What happens in each part is
whatever the two models, the probe and the jobs do; this file only lets time pass and writes down
what came of it.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import prod
from pathlib import Path

from transformers import AutoConfig

from demo.answers import ModelPair
from demo.facts import load_questions
from demo.pair import MODELS
from demo.plan import LABELLING, SEED, START, demo_spec, queries
from demo.report import story_of
from knowgate import CascadeSpec
from knowgate._wire import codec
from services.pages.report import render_report
from services.simulation.play import Played, Player, Progress
from services.simulation.stage import Stage, simulated_settings
from services.simulation.summary import Summary, summarise
from store.engine import reading
from store.releases import promotions

STEP = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the demo ends with."""

    summary: Summary
    played: Played
    directory: Path


def tell(directory: Path, *, answered: Callable[[int, int], object], report: Callable[[Progress], None]) -> Ending:
    """Play the whole story in `directory`, which is emptied first.

    `answered` hears (prompts answered, prompts in all) while the models work, `report` what
    happened in each step.
    """
    if directory.exists():
        shutil.rmtree(directory)
    spec = spec_of_pair()
    questions = load_questions()
    traffic = queries(list(questions))
    wanted = {asked.prompt for asked in traffic}
    asked_once = [question for question in questions if question.prompt in wanted]
    total = len(spec.tiers) * len(asked_once)
    pair = ModelPair(spec.tiers, asked_once, report=lambda count: answered(count, total))
    with Stage(simulated_settings(directory, seed=SEED), spec, start=START) as stage:
        player = Player(stage, pair, LABELLING, seed=SEED)

        def step(progress: Progress) -> None:
            pair.follow(stage.cascade)
            report(progress)

        player.play(traffic, every=STEP, report=step)
        player.wait(stage.clock.now() + spec.horizon + timedelta(days=1), every=timedelta(days=1), report=step)
        summary = summarise(stage, player.played)
        _write(stage, summary, player.played, directory)
    return Ending(summary=summary, played=player.played, directory=directory)


def _write(stage: Stage, summary: Summary, played: Played, directory: Path) -> None:
    with reading(stage.engine) as session:
        decided = promotions.promotions(session, stage.spec.name)
        story = story_of(summary, played, decided)
        html = render_report(session, stage.spec.name, now=stage.clock.now(), story=story)
    (directory / "summary.json").write_text(json.dumps(codec.encode(summary), indent=2), encoding="utf-8")
    (directory / "report.html").write_text(html, encoding="utf-8")


def spec_of_pair() -> CascadeSpec:
    """The demo's cascade with the sizes that the committed models have."""
    sizes = tuple(_parameters(MODELS / name) for name in ("small", "large"))
    blocks = AutoConfig.from_pretrained(MODELS / "small").num_hidden_layers
    return demo_spec((sizes[0], sizes[1]), tuple(range(blocks + 1)))


def _parameters(folder: Path) -> float:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 (not a dict)
    return float(sum(map(prod, shapes)))
