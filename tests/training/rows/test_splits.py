"""The rows that certify taught nothing: by id, by prompt, and in whatever order they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingRefused
from training.rows.splits import Part, Proportions, Split, certifying, split_rows, taught_before

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


def test_prompts_asked_once_certify_from_the_window_only_in_the_stated_shares() -> None:
    names, seconds = [f"p{row}" for row in range(8000)], np.arange(8000.0)
    split = split_rows(names, seconds, names, Proportions(), since=4000.0)
    assert np.flatnonzero(split.rows(Part.CERTIFICATION)).min() >= 4000
    recent, before = ({part: split.rows(part)[at].mean() for part in Part} for at in (slice(4000, None), slice(4000)))
    assert recent[Part.CERTIFICATION] == pytest.approx(0.5, abs=0.03)
    assert before[Part.FIT] == pytest.approx(0.6, abs=0.03)
    for part in (Part.VALIDATION, Part.CALIBRATION):
        assert before[part] == pytest.approx(0.2, abs=0.03) and recent[part] == pytest.approx(0.1, abs=0.03)
    assert not split.rows(Part.LEFT_OUT).any()


@given(
    st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), max_size=60),
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda ends: (float(min(ends)), float(max(ends)))),
    st.integers(0, 60),
)
def test_a_later_attempt_knows_whose_prompts_taught_an_earlier_one(
    prompts: list[str | None], read: tuple[float, float], since: int
) -> None:
    ids, seconds = [f"id{row}" for row in range(len(prompts))], np.arange(len(prompts), dtype=float)
    earlier = [row for row in range(len(prompts)) if read[0] <= row < read[1]]
    names = [prompts[row] or ids[row] for row in earlier]
    hashes = [prompts[row] for row in earlier]
    split = split_rows([ids[row] for row in earlier], seconds[earlier], hashes, Proportions(), since=since)
    learned = {name for name, yes in zip(names, split.rows(*LEARNED), strict=True) if yes}
    taught = taught_before(ids, seconds, prompts, Proportions(), read=read, since=since)
    assert taught.tolist() == [(name or own) in learned for name, own in zip(prompts, ids, strict=True)]


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=1, max_size=60), st.integers(0, 60))
def test_older_rows_teach_unless_their_prompt_certifies_now(prompts: list[str | None], since: int) -> None:
    ids, seconds = [f"id{row}" for row in range(len(prompts))], np.arange(len(prompts), dtype=float)
    split, may = split_rows(ids, seconds, prompts, Proportions(), since=since), certifying(ids, prompts, Proportions())
    certify, left_out = split.rows(Part.CERTIFICATION), split.rows(Part.LEFT_OUT)
    assert (certify == (may & (seconds >= since))).all()
    now = {prompt for prompt, yes in zip(prompts, certify, strict=True) if yes and prompt is not None}
    assert left_out.tolist() == [at < since and prompt in now for at, prompt in enumerate(prompts)]
    assert (split.rows(*LEARNED) ^ (certify | left_out)).all()


def test_the_same_prompts_certify_in_every_period() -> None:
    names, seconds = [f"p{row % 500}" for row in range(4000)], np.arange(4000.0)
    ids = [f"id{row}" for row in range(4000)]
    sides = []
    for since in (0.0, 1000.0, 2000.0):
        split = split_rows(ids, seconds, names, Proportions(), since=since)
        sides.append({name for name, yes in zip(names, split.rows(Part.CERTIFICATION), strict=True) if yes})
    assert sides[0] == sides[1] == sides[2] and 200 < len(sides[0]) < 300


def test_popular_prompts_certify_as_often_as_rare_ones() -> None:
    draw = np.random.default_rng(0)
    names = [f"rare{row}" for row in range(4000)] + [f"popular{row % 200}" for row in range(4000)]
    prompts: list[str | None] = [names[at] for at in draw.permutation(8000)]
    _, split = _split(prompts)
    popular = np.array([str(prompt).startswith("popular") for prompt in prompts])
    certify = split.rows(Part.CERTIFICATION)
    # 200 popular prompts of 20 rows each: the standard error of their share is about .034.
    assert certify[popular].mean() == pytest.approx(certify[~popular].mean(), abs=0.1)


@pytest.mark.parametrize("name", ["certification", "fit", "validation"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_named(name: str, value: float) -> None:
    with pytest.raises(TrainingRefused, match=rf"^{name} is {value}: give a share in \(0, 1\]"):
        Proportions(**{name: value})


def test_shares_may_be_whole_but_leave_something_to_calibration() -> None:
    assert Proportions(certification=1.0).certification == 1.0
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
