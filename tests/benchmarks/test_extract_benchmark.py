"""The extraction benchmark compares like with like: all three ways give every prompt the same
vector.
"""

import numpy as np
import pytest

from benchmarks.extract import Shape, adopted, arrival, good, in_turn, lengths_of_traffic, llama, ours, plain, work
from training.extraction import Answerer

TINY = Shape(prompts=40, blocks=3, width=64, layer=2)


def test_the_three_ways_give_every_prompt_the_same_vector() -> None:
    prompts, network = lengths_of_traffic(TINY.prompts), llama(TINY)
    answerer = Answerer(adopted(network), layers=[TINY.layer])
    batches = arrival(len(prompts))
    seconds, cpu_seconds, vectors = in_turn(
        [
            lambda: plain(network, prompts, batches, TINY.layer),
            lambda: good(network, prompts, batches, TINY.layer),
            lambda: ours(answerer, prompts),
        ],
        prompts,
    )
    assert len(seconds) == len(cpu_seconds) == len(vectors) == 3 and min(seconds) > 0
    assert np.isfinite(vectors[0]).all()
    for other in vectors[1:]:
        np.testing.assert_allclose(other, vectors[0], atol=1e-4)


def test_lengths_are_those_of_the_stated_traffic() -> None:
    lengths = [len(prompt) for prompt in lengths_of_traffic(4000)]
    assert 70 < np.median(lengths) < 80 and max(lengths) <= 512


def test_work_counts_products_of_real_tokens_alone() -> None:
    network = llama(TINY)
    d, inner = 64, 176
    attention, feed_forward = 4 * d * d, 3 * d * inner
    ten = 2 * 10 * (2 * (attention + feed_forward) - feed_forward - d * d)
    last = 2 * (feed_forward + d * d)
    assert work(network, [[5] * 10], 2) == pytest.approx(ten + last + 2 * 2 * 100 * d)
