"""The model pair at work: both real models answer every question that the traffic asks, through
transformers.

Each distinct question is asked once, in batches, before the clock starts; a served query then takes
its answer from there. The small model's states are kept of every layer, because which layer a probe
reads is decided by training and may change with the next bundle.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from demo.facts import Question
from knowgate import Cascade
from knowgate.backends.loading import load_tier
from knowgate.spec import TierSpec
from services.simulation.traffic import Answer, Asked
from training.extraction import Answered, Answerer

BATCH = 256


class ModelPair:
    """Answers of both tiers to a set of questions."""

    def __init__(
        self,
        tiers: Sequence[TierSpec],
        questions: Sequence[Question],
        *,
        report: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Ask both models everything; `report` hears how many prompts were answered after
        each batch.
        """
        self._questions = {question.prompt: question for question in questions}
        prompts = list(self._questions)
        self._answerers = [Answerer(load_tier(tier), layers=tier.layers or (0,), batch=BATCH) for tier in tiers]
        self._answered: list[Mapping[str, Answered]] = [
            dict(zip(prompts, answerer.answer(prompts, progress=report), strict=True)) for answerer in self._answerers
        ]
        self._layer = len(self._answerers[0].layers) - 1  # the last one, until a bundle says which

    def follow(self, cascade: Cascade) -> None:
        """Send the states of the layer that the bundle in force was trained on."""
        pair = cascade.pair
        models = None if pair is None or pair.champion is None else pair.champion.tiers[0]
        if models is not None:
            self._layer = self._answerers[0].layers.index(models.document.fingerprint.layer)

    def answer(self, asked: Asked, tier: int) -> Answer:
        """What `tier` answers; hidden states come with the small model only, the last tier needs
        none.
        """
        question, answered = self._questions[asked.prompt], self._answered[tier][asked.prompt]
        probed = tier < len(self._answerers) - 1
        return Answer(
            answer=answered.text.strip(),
            correct=float(answered.text.strip() == question.answer),
            p_t=answered.p_t,
            entropy=answered.entropy,
            hidden=answered.hidden[self._layer].astype(np.float16) if probed else None,
            fingerprint=self._answerers[tier].fingerprints[self._layer] if probed else None,
            tokens_in=answered.tokens_in,
            tokens_out=answered.tokens_out,
            latency_ms=answered.latency_ms,
        )
