"""What a cluster may be asked for, and how the work is cut for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from training.engines.choice import RaySettings
from training.engines.extraction import Work, parts_of
from training.errors import TrainingRefused
from training.extraction.batches import Batch, batches


@pytest.mark.parametrize("given", [{}, {"cpus": 0.0, "gpus": 1.0}, {"cpus": 0.5}, {"gpus": 0.25}, {"workers": 1}])
def test_a_worker_is_given_some_of_either(given: dict[str, Any]) -> None:
    assert RaySettings(**given).workers == 1
    assert RaySettings(address="10.0.0.1:6379").address == "10.0.0.1:6379"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"workers": 0}, "the number of workers is 0: give 1 or more"),
        ({"cpus": 0.0}, "a worker is given 0.0 CPUs and 0.0 GPUs: give it some of either"),
        ({"cpus": -1.0, "gpus": 2.0}, "a worker is given -1.0 CPUs and 2.0 GPUs"),
        ({"cpus": 2.0, "gpus": -1.0}, "a worker is given 2.0 CPUs and -1.0 GPUs"),
        ({"address": ""}, "the Ray address is ''"),
        ({"address": "ray://head:10001"}, "the Ray address is 'ray://head:10001'"),
    ],
)
def test_what_no_cluster_can_give_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(TrainingRefused, match=named):
        RaySettings(**given)


@dataclass(frozen=True)
class OneByOne:
    """Cuts one prompt per batch, as an answerer of a batch size of one does."""

    def batches(self, prompts: list[list[int]], *, rows: list[int], states_only: bool) -> Iterator[Batch]:
        assert states_only
        return batches(prompts, tokens=99, size=1, rows=rows, pad_id=0, left=False)


@pytest.mark.parametrize(("size", "parts"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (6, [5])])
def test_a_part_ends_once_it_has_as_many_prompts_as_are_asked_for(size: int, parts: list[int]) -> None:
    work = Work(
        prompts=[[1] * length for length in range(1, 8)], rows=[0, 2, 3, 5, 6], states_only=True, part_prompts=1
    )
    made = list(parts_of(OneByOne(), work, size))  # type: ignore[arg-type]
    assert [sum(len(batch.rows) for batch in part) for part in made] == parts
    assert [row for part in made for batch in part for row in batch.rows] == [6, 5, 3, 2, 0]
    assert work.tokens_of([0, 6]) == 8
