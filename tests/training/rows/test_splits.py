"""The rows that certify taught nothing: by id, by prompt, and in whatever order they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingRefused
from training.rows.splits import Part, Proportions, Split, split_rows

LEARNED = (Part.FIT, Part.VALIDATION, Part.CALIBRATION)


def _split(prompts: list[str | None], seconds: list[float] | None = None) -> tuple[list[str], Split]:
    ids = [f"id{row}" for row in range(len(prompts))]
    times = np.arange(len(prompts), dtype=float) if seconds is None else np.array(seconds)
    return ids, split_rows(ids, times, prompts, Proportions())


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=1, max_size=60))
def test_no_prompt_is_on_two_sides(prompts: list[str | None]) -> None:
    _, split = _split(prompts)
    for prompt in set(prompts) - {None}:
        assert len({part for part, name in zip(split.parts, prompts, strict=True) if name == prompt}) == 1
    assert (split.rows(Part.CERTIFICATION) ^ split.rows(*LEARNED)).all()
    assert sum(split.prompts.values()) == len(set(prompts) - {None}) + prompts.count(None)


@given(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_come_changes_nothing(prompts: list[str], shuffle: object) -> None:
    rows = [(f"id{row}", float(row), prompt) for row, prompt in enumerate(prompts)]
    mixed = rows.copy()
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]

    def parts(given_rows: list[tuple[str, float, str]]) -> dict[str, str]:
        ids, seconds, names = zip(*given_rows, strict=True)
        return dict(zip(ids, split_rows(ids, np.array(seconds), names, Proportions()).parts, strict=True))

    assert parts(rows) == parts(mixed)


def test_prompts_asked_once_certify_from_the_recent_half_only_in_the_stated_shares() -> None:
    prompts: list[str | None] = [f"p{row}" for row in range(8000)]
    _, split = _split(prompts)
    certify = np.flatnonzero(split.rows(Part.CERTIFICATION))
    assert certify.min() >= 3999
    shares = {part: split.rows(part).mean() for part in Part}
    assert shares[Part.CERTIFICATION] == pytest.approx(0.375, abs=0.02)
    assert shares[Part.FIT] == pytest.approx(0.375, abs=0.02)
    assert shares[Part.VALIDATION] == pytest.approx(0.125, abs=0.02)
    assert shares[Part.CALIBRATION] == pytest.approx(0.125, abs=0.02)


def test_popular_prompts_certify_as_often_as_rare_ones() -> None:
    draw = np.random.default_rng(0)
    names = [f"rare{row}" for row in range(4000)] + [f"popular{row % 200}" for row in range(4000)]
    prompts: list[str | None] = [names[at] for at in draw.permutation(8000)]
    _, split = _split(prompts)
    popular = np.array([str(prompt).startswith("popular") for prompt in prompts])
    certify = split.rows(Part.CERTIFICATION)
    # 200 popular prompts of 20 rows each: the standard error of their share is about .034.
    assert certify[popular].mean() == pytest.approx(certify[~popular].mean(), abs=0.1)


@pytest.mark.parametrize("name", ["recent", "certification_of_recent", "fit", "validation"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_named(name: str, value: float) -> None:
    with pytest.raises(TrainingRefused, match=rf"^{name} is {value}: give a share in \(0, 1\]"):
        Proportions(**{name: value})


def test_shares_may_be_whole_but_leave_something_to_calibration() -> None:
    assert Proportions(recent=1.0, certification_of_recent=1.0).recent == 1.0
    assert Proportions(fit=0.5, validation=0.499).validation == 0.499
    for fit, validation in ((0.5, 0.5), (0.75, 0.5)):
        with pytest.raises(
            TrainingRefused, match=rf"fit \+ validation is {fit + validation}: leave some to calibration"
        ):
            Proportions(fit=fit, validation=validation)


def test_what_is_no_split_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="twice"):
        split_rows(["a", "a"], np.zeros(2), [None, None], Proportions())
    with pytest.raises(TrainingRefused, match="calibration"):
        Proportions(fit=0.8, validation=0.2)
