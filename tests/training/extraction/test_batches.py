"""How prompts become batches, and what is reported of how far they are."""

import io

import pytest

from training.errors import ExtractionRefused
from training.extraction.batches import batches, pad
from training.extraction.progress import Progress


def rows_of(lengths: list[int], **given: int | None) -> list[tuple[int, ...]]:
    prompts = [[1] * length for length in lengths]
    return [batch.rows for batch in batches(prompts, pad_id=0, left=False, **({"tokens": 100} | given))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lengths", "given", "rows"),
    [
        ([5, 5, 5, 5], {"tokens": 20}, [(0, 1, 2, 3)]),
        ([5, 5, 5, 5], {"tokens": 19}, [(0, 1, 2), (3,)]),
        ([5, 5, 5, 5], {"size": 3}, [(0, 1, 2), (3,)]),
        ([5, 5, 5, 5], {"tokens": 10, "size": 3}, [(0, 1), (2, 3)]),
        ([30, 5], {"tokens": 20}, [(0,), (1,)]),  # one over the budget is a batch of its own
        ([1, 3, 2, 3], {}, [(1, 3, 2, 0)]),  # longest first, equals in their order
        ([10, 9], {"tokens": 40}, [(0, 1)]),
        ([10, 10, 9, 9], {"tokens": 40}, [(0, 1, 2, 3)]),  # nine tenths of the longest
        ([10, 10, 8, 8], {"tokens": 40}, [(0, 1), (2, 3)]),  # half full, and less than that
        ([10, 8, 8, 8], {"tokens": 40}, [(0, 1), (2, 3)]),  # not half full yet: the first of them fits
        ([10, 10, 8], {"tokens": 60}, [(0, 1, 2)]),
        ([], {}, []),
    ],
)
def test_a_batch_ends_where_its_budget_its_size_or_its_padding_says(
    lengths: list[int], given: dict[str, int | None], rows: list[tuple[int, ...]]
) -> None:
    assert rows_of(lengths, **given) == rows


def test_only_the_prompts_that_are_named_are_batched() -> None:
    made = list(batches([[1], [2, 2], [3]], tokens=9, rows=[2, 1], pad_id=0, left=True))
    assert [batch.rows for batch in made] == [(1, 2)]


@pytest.mark.parametrize(
    ("given", "named"), [({"tokens": 0}, "tokens per batch is 0"), ({"size": 0}, "prompts per batch is 0")]
)
def test_a_budget_below_one_is_refused(given: dict[str, int | None], named: str) -> None:
    assert rows_of([1, 1], tokens=1, size=1) == [(0,), (1,)]
    with pytest.raises(ExtractionRefused, match=f"{named}: give 1 or more"):
        rows_of([1], **given)


@pytest.mark.parametrize(
    ("left", "ids", "positions", "last"),
    [
        (False, [[7, 8, 9], [5, 0, 0]], [[0, 1, 2], [0, 0, 0]], [2, 0]),
        (True, [[7, 8, 9], [0, 0, 5]], [[0, 1, 2], [0, 0, 0]], [2, 2]),
    ],
)
def test_padding_stands_on_one_side_and_counts_nowhere(
    left: bool, ids: list[list[int]], positions: list[list[int]], last: list[int]
) -> None:
    batch = pad((4, 2), [[7, 8, 9], [5]], 0, left)
    assert (batch.rows, batch.left) == ((4, 2), left)
    assert batch.input_ids.tolist() == ids
    assert batch.attention_mask.tolist() == [[int(one > 0) for one in row] for row in ids]
    assert batch.position_ids.tolist() == positions
    assert (batch.lengths.tolist(), batch.last.tolist()) == ([3, 1], last)
    assert (batch.tokens, batch.padded) == (4, True)
    assert not pad((0,), [[7, 8]], 0, left).padded


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def message(stream: io.StringIO, steps: list[tuple[float, int, int]], *, tokens: int = 1000, before: int = 0) -> str:
    """What is written where batches of (prompts, tokens) end at these times."""
    now = [0.0]
    progress = Progress(stream, prompts=10, tokens=tokens, before=before, clock=lambda: now[0])
    for at, prompts, of_batch in steps:
        now[0] = at
        progress.add(prompts, of_batch)
    return stream.getvalue()


def test_a_log_has_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    lines = message(io.StringIO(), [(9.9, 2, 200), (10.0, 2, 300), (19.9, 2, 100), (20.0, 4, 400)]).splitlines()
    assert lines == [
        "4/10 prompts, 0.4 prompts/s, 50 tokens/s, 0:10 left",
        "10/10 prompts, 0.5 prompts/s, 50 tokens/s, 0:00 left",
    ]
    assert message(io.StringIO(), [(1.0, 10, 1000)]) == "10/10 prompts, 10.0 prompts/s, 1000 tokens/s, 0:00 left\n"


def test_a_terminal_has_one_line_that_is_rewritten_twice_a_second() -> None:
    shown = message(Terminal(), [(0.4, 1, 100), (0.5, 1, 100), (0.9, 1, 100), (1.0, 7, 700)])
    assert shown == (
        "\r2/10 prompts, 4.0 prompts/s, 400 tokens/s, 0:02 left\033[K"
        "\r10/10 prompts, 10.0 prompts/s, 1000 tokens/s, 0:00 left\033[K\n"
    )


@pytest.mark.parametrize(
    ("tokens", "left"), [(4000, "1:00"), (3950, "0:59"), (240_000, "1:00:00"), (254_250, "1:03:34"), (239_950, "59:59")]
)
def test_the_time_left_is_told_in_hours_minutes_and_seconds(tokens: int, left: str) -> None:
    """A second per 66⅔ tokens: 1000 were done in fifteen."""
    shown = message(io.StringIO(), [(15.0, 4, 1000)], tokens=1000 + tokens, before=5)
    assert shown == f"9/15 prompts, 0.3 prompts/s, 67 tokens/s, {left} left\n"
