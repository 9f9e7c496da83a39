"""A grader corrected by a few gold labels: unbiased whatever the grader, and never much worse than
gold alone.
"""

import numpy as np
import pytest

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import self_normalised
from evidence.estimation.prediction_powered import corrected_by_error_rates, grader_errors, prediction_powered

NAN = float("nan")


def judged(
    rng: np.random.Generator, n: int, *, up: float, down: float, rate: float, by_verdict: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth of mean .7, a grader with these error rates, and a gold coin, which may look at the
    verdict.
    """
    truth = rng.random(n) < 0.7
    verdict = np.where(truth, rng.random(n) >= down, rng.random(n) < up)
    propensity = np.where(verdict, rate / 2, rate) if by_verdict else np.full(n, rate)
    seen = rng.random(n) < propensity
    return verdict.astype(float), np.where(seen, truth, NAN), seen, propensity


def test_a_perfect_grader_leaves_nothing_to_correct() -> None:
    forecast = np.array([1.0, 1, 0, 1, 0, 1])
    seen = np.array([1, 1, 1, 0, 0, 0])
    powered = prediction_powered(forecast, np.where(seen, forecast, NAN), seen, np.full(6, 0.5))
    assert powered.forecast_share == 1.0
    assert powered.value == pytest.approx(forecast.mean())


def test_a_grader_that_always_says_the_same_is_not_used() -> None:
    powered = prediction_powered([1.0] * 4, [1.0, 0.0, NAN, NAN], [1, 1, 0, 0], [0.5] * 4)
    assert (powered.forecast_share, powered.value, powered.forecast_alone) == (0.0, 0.5, 1.0)


def test_known_answer_by_hand() -> None:
    # gold mean 2/3, the grader's mean on gold 1/3, in all 1/2: 2/3 − λ(1/3 − 1/2) at λ = 1/2
    forecast, gold = [1, 0, 0, 1, 0, 1], [1.0, 1.0, 0.0, NAN, NAN, NAN]
    powered = prediction_powered(forecast, gold, [1, 1, 1, 0, 0, 0], [0.5] * 6, forecast_share=0.5)
    assert powered.value == pytest.approx(2 / 3 + 0.5 / 6)
    # terms 2(Y − 2/3) − ½[2(f − 1/3) − (f − 1/2)] on gold rows, ½(f − 1/2) elsewhere; widened by
    # √(3/2)
    terms = np.array([2 / 3 - 0.5 * (4 / 3 - 0.5), 2 / 3 - 0.5 * (-2 / 3 + 0.5), -4 / 3 - 0.5 * (-2 / 3 + 0.5)])
    terms = np.concatenate([terms, 0.5 * np.array([0.5, -0.5, 0.5])])
    assert powered.standard_error == pytest.approx(terms.std() / np.sqrt(6) * np.sqrt(1.5))
    assert powered.effective_sample_size == pytest.approx(3.0)


def test_without_the_grader_it_is_the_self_normalised_mean() -> None:
    forecast, gold, seen, propensity = judged(
        np.random.default_rng(5), 400, up=0.2, down=0.1, rate=0.4, by_verdict=True
    )
    powered = prediction_powered(forecast, gold, seen, propensity, forecast_share=0.0)
    assert powered.value == pytest.approx(self_normalised(gold, seen, propensity).value)
    assert powered.value == powered.gold_alone


@pytest.mark.parametrize("by_verdict", [False, True])
def test_its_intervals_cover_and_are_shorter_than_those_of_gold_alone(by_verdict: bool) -> None:
    rng, runs = np.random.default_rng(11), 600
    covered, widths, alone, judge_covered = 0, 0.0, 0.0, 0
    for _ in range(runs):
        rows = judged(rng, 2000, up=0.3, down=0.05, rate=0.1, by_verdict=by_verdict)
        powered = prediction_powered(*rows)
        covered += powered.lower <= 0.7 <= powered.upper
        widths += powered.standard_error
        alone += powered.gold_alone_error
        judge_covered += abs(powered.forecast_alone - 0.7) < 1.96 * 0.46 / np.sqrt(2000)
    error = np.sqrt(0.05 * 0.95 / runs)
    assert covered / runs > 0.95 - 0.01 - 3 * error
    assert widths < 0.85 * alone
    assert judge_covered / runs < 0.1  # the grader's own mean is off by its errors


def test_a_useless_grader_costs_nothing() -> None:
    rng, runs, covered, widths, alone = np.random.default_rng(12), 400, 0, 0.0, 0.0
    for _ in range(runs):
        powered = prediction_powered(*judged(rng, 1000, up=0.5, down=0.5, rate=0.1))
        covered += powered.lower is None or powered.lower <= 0.7 <= powered.upper
        widths += powered.standard_error
        alone += powered.gold_alone_error
    assert covered / runs > 0.95 - 0.01 - 3 * np.sqrt(0.05 * 0.95 / runs)
    assert widths <= alone


def test_error_rates_have_exact_intervals() -> None:
    errors = grader_errors([1] * 9 + [0] + [0] * 10, [1] * 10 + [0] * 10)
    assert errors.right_called_wrong is not None and errors.right_called_wrong.value == 0.1
    assert errors.wrong_called_right is not None and errors.wrong_called_right.upper == pytest.approx(0.3085, abs=1e-4)
    assert grader_errors([1, 1], [1, 1]).wrong_called_right is None


def test_known_error_rates_give_back_the_share_behind_the_verdicts() -> None:
    # 600 right of 1000 at error rates .2 and .1: 540 + 80 are called right
    corrected = corrected_by_error_rates(620, 1000, wrong_called_right=0.2, right_called_wrong=0.1)
    assert corrected.value == pytest.approx(0.6)
    assert corrected.standard_error == pytest.approx(np.sqrt(0.62 * 0.38 / 1000) / 0.7)
    measured = corrected_by_error_rates(
        620, 1000, wrong_called_right=0.2, right_called_wrong=0.1, compared_wrong=50, compared_right=50
    )
    assert measured.standard_error > corrected.standard_error


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(NotIdentifiedError, match="at least two"):
        prediction_powered([1, 0], [1.0, NAN], [1, 0], [0.5, 0.5])
    with pytest.raises(NotIdentifiedError, match="propensity"):
        prediction_powered([1, 0], [1.0, 0.0], [1, 1], [0.5, 0.0])
    with pytest.raises(InvalidInputError, match=r"gold\[1\] is unknown"):
        prediction_powered([1, 0, 1], [1.0, NAN, 0.0], [1, 1, 1], [0.5] * 3)
    with pytest.raises(InvalidInputError, match="forecast"):
        prediction_powered([NAN, 0], [1.0, 0.0], [1, 1], [0.5] * 2)
    with pytest.raises(NotIdentifiedError, match="tells nothing"):
        corrected_by_error_rates(5, 10, wrong_called_right=0.6, right_called_wrong=0.4)
    with pytest.raises(InvalidInputError, match="called_right is 11 of 10"):
        corrected_by_error_rates(11, 10, wrong_called_right=0.1, right_called_wrong=0.1)


def test_intervals_from_measured_error_rates_cover() -> None:
    rng, runs, covered = np.random.default_rng(14), 500, 0
    for _ in range(runs):
        verdict, gold, seen, _ = judged(rng, 2000, up=0.2, down=0.05, rate=0.2)
        errors = grader_errors(verdict[seen] >= 0.5, gold[seen] >= 0.5)
        up, down = errors.wrong_called_right, errors.right_called_wrong
        assert up is not None and down is not None
        corrected = corrected_by_error_rates(
            int(verdict.sum()),
            2000,
            wrong_called_right=up.value,
            right_called_wrong=down.value,
            compared_wrong=up.n,
            compared_right=down.n,
        )
        covered += corrected.lower <= 0.7 <= corrected.upper
    assert covered / runs >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / runs)


def test_rows_of_unequal_standing_weigh_and_their_intervals_cover() -> None:
    """Answers that ran by a coin stand for those that did not: 1 / ρ each, gold labels drawn among
    them.
    """
    rng, runs, covered, off = np.random.default_rng(15), 500, 0, []
    for _ in range(runs):
        hard = rng.random(3000) < 0.5
        run = np.where(hard, 0.8, 0.3)
        ran = rng.random(3000) < run
        truth = rng.random(3000) < np.where(hard, 0.5, 0.9)
        verdict = np.where(truth, rng.random(3000) >= 0.05, rng.random(3000) < 0.2)
        seen = ran & (rng.random(3000) < 0.25)
        powered = prediction_powered(
            verdict[ran], np.where(seen, truth, NAN)[ran], seen[ran], np.full(int(ran.sum()), 0.25), weight=1 / run[ran]
        )
        covered += powered.lower <= 0.7 <= powered.upper
        off.append(powered.value - 0.7)
    assert covered / runs >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / runs)
    assert abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(runs)
