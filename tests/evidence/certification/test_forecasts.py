"""A grader's labels in a certificate: forecasts that trusted labels correct, so that no grader
breaks a promise.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.alarms.alarms import AlarmRule, advance_watch, open_watch
from evidence.alarms.increments import risk_increments, risk_range
from evidence.bounds.betting import log_capital
from evidence.bounds.power import rows_needed_for_betting
from evidence.certification.certificate import Basis, CertificationTest, Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.forecast_evidence import (
    Plan,
    corrected_accuracy,
    corrected_drop,
    plan_of_accuracy,
    plan_of_drop,
)
from evidence.certification.forecasts import ASSUMED_ERROR, corrected, worth_of_difference
from evidence.certification.tally import Tally, tally_of
from evidence.errors import InvalidInputError, NotIdentifiedError
from knowgate.policy import PolicyKind
from knowgate.spec import TargetKind
from tests.evidence.walks import certify_one_gate

NAN = float("nan")
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05)


def judged(rng: np.random.Generator, truth: np.ndarray, *, up: float, down: float) -> np.ndarray:
    """What a grader says that calls wrong answers right with chance `up`, right ones wrong with
    chance `down`.
    """
    return np.where(truth == 1, rng.random(truth.shape) >= down, rng.random(truth.shape) < up).astype(float)


class Traffic:
    """Retained queries, 15 % of whose two answers differ; all are judged and a coin draws gold
    labels.
    """

    def __init__(self, rng: np.random.Generator, n: int, plus: float, minus: float, up: float, rate: float) -> None:
        case = rng.choice(4, size=n, p=[plus, minus, 0.15 - plus - minus, 0.85])
        last, kept = case == 0, case == 1  # the third: both are wrong; the fourth: one answer, right or wrong
        same = rng.random(n) < 0.9
        last, kept = np.where(case == 3, same, last), np.where(case == 3, same, kept)
        self.truth = np.column_stack([kept, last]).astype(float)
        self.agrees = (case == 3)[:, None]
        self.verdicts = judged(rng, self.truth, up=up, down=0.02)
        self.verdicts[case == 3, 1] = self.verdicts[case == 3, 0]
        self.drawn = rng.random(n) < rate
        self.rate, self.n = rate, n
        self.gold = np.where(self.drawn[:, None], self.truth, NAN)
        self.ids = tuple(str(row) for row in range(n))

    def naive(self) -> CertificationRows:
        """Whatever label is there is taken for the truth."""
        both = np.where(self.drawn[:, None], self.truth, self.verdicts)
        return CertificationRows(correct=both, agrees=self.agrees, ids=self.ids)

    def rows(self, *, forecasts: bool) -> CertificationRows:
        return CertificationRows(
            correct=self.gold,
            agrees=self.agrees,
            propensity=np.full(self.n, self.rate),
            observed=self.drawn,
            ids=self.ids,
            forecast=self.verdicts if forecasts else None,
            forecast_error=0.06 if forecasts else None,  # measured elsewhere
        )


def everything_kept(rows: CertificationRows, delta: float) -> Tally:
    return tally_of(rows, np.zeros(rows.n, dtype=np.int64), delta)


@pytest.mark.slow
@pytest.mark.parametrize("up", [0.1, 0.2])
def test_a_lenient_grader_breaks_the_naive_promise_and_not_the_corrected_one(up: float) -> None:
    """The true drop is exactly ε, so every certificate is a violation."""
    rng, runs, delta = np.random.default_rng(17), 300, 0.1
    naive = fixed = bets = 0
    for _ in range(runs):
        traffic = Traffic(rng, 4000, 0.055, 0.015, up, 0.1)
        naive += everything_kept(traffic.naive(), delta).drop.shown(0.04, delta)
        tally = everything_kept(traffic.rows(forecasts=True), delta)
        bets += tally.drop.basis(DROP.value).test is CertificationTest.CORRECTED_DROP
        fixed += tally.drop.shown(0.04, delta)
    error = np.sqrt(delta * (1 - delta) / runs)
    assert fixed / runs <= delta + 2 * error
    assert naive / runs > delta + 6 * error
    assert bets / runs > 0.7  # else the exact test on gold labels was expected to be sharper


@pytest.mark.slow
def test_with_a_grader_the_certificate_is_given_more_often_than_on_gold_alone() -> None:
    rng, runs, delta = np.random.default_rng(18), 150, 0.1
    gold = powered = both = 0
    for _ in range(runs):
        traffic = Traffic(rng, 6000, 0.05, 0.045, 0.15, 0.1)
        alone = everything_kept(traffic.rows(forecasts=False), delta).drop.shown(0.03, delta)
        corrected_too = everything_kept(traffic.rows(forecasts=True), delta).drop.shown(0.03, delta)
        gold, powered, both = gold + alone, powered + corrected_too, both + (alone and corrected_too)
    only_judge, only_gold = powered - both, gold - both
    assert only_judge - only_gold > 3 * np.sqrt(only_judge + only_gold)  # McNemar, three standard errors


def test_the_weight_of_forecasts_starts_from_the_rows_whose_answers_ran() -> None:
    traffic = Traffic(np.random.default_rng(3), 400, 0.08, 0.04, 0.3, 1.0)
    ran = np.arange(400) % 2 == 0
    rows = CertificationRows(
        correct=np.where(ran[:, None], traffic.truth, NAN),
        agrees=traffic.agrees,
        propensity=np.full(400, 0.5),
        observed=ran,
        ids=traffic.ids,
        forecast=np.where(ran[:, None], traffic.verdicts, NAN),
        ran=ran,
        run_propensity=np.full(400, 0.5),
    )
    kept = np.zeros(400, dtype=np.int64)
    differ = traffic.verdicts[:, 1] - traffic.verdicts[:, 0]
    square = float((differ[ran & ~rows.settled(kept)] ** 2).mean())
    expected = worth_of_difference(square, ASSUMED_ERROR).share
    assert plan_of_drop(rows, kept, 0.1).first_share == pytest.approx(expected)
    assert expected != pytest.approx(worth_of_difference(square / 2, ASSUMED_ERROR).share)


def test_verdicts_on_answers_that_did_not_run_size_no_bet_on_accuracy() -> None:
    ran = np.arange(400) % 2 == 0

    def rows(elsewhere: float) -> CertificationRows:
        return CertificationRows(
            correct=np.where(ran[:, None], np.ones((400, 2)), NAN),
            agrees=np.zeros((400, 1), dtype=bool),
            propensity=np.full(400, 0.5),
            observed=ran,
            ids=tuple(str(row) for row in range(400)),
            forecast=np.repeat(np.where(ran, 1.0, elsewhere)[:, None], 2, axis=1),
            ran=ran,
            run_propensity=np.full(400, 0.5),
        )

    kept = np.zeros(400, dtype=np.int64)
    assert plan_of_accuracy(rows(0.0), kept, 0.1) == plan_of_accuracy(rows(1.0), kept, 0.1)


def test_its_estimate_is_unbiased_under_run_and_label_coins_whatever_the_judge() -> None:
    rng, n, means = np.random.default_rng(19), 2000, []
    for _ in range(150):
        traffic = Traffic(rng, n, 0.06, 0.02, 0.3, 1.0)
        run_at = np.where(np.arange(n) % 2 == 0, 0.3, 0.8)
        ran = rng.random(n) < run_at
        drawn = ran & (rng.random(n) < 0.4)
        rows = CertificationRows(
            correct=np.where(drawn[:, None], traffic.truth, NAN),
            agrees=traffic.agrees,
            propensity=run_at * 0.4,
            observed=drawn,
            ids=traffic.ids,
            forecast=np.where(ran[:, None], traffic.verdicts, NAN),
            ran=ran,
            run_propensity=run_at,
        )
        kept = np.zeros(n, dtype=np.int64)
        worst = np.nan_to_num(rows.outcome(kept), nan=1.0)
        means.append(corrected_drop(rows, kept, worst, plan_of_drop(rows, kept, 0.1)).estimate)
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - 0.04) < 3 * error


@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from([-1.0, 0.0, 1.0])), min_size=1, max_size=8)
)
def test_over_all_throws_of_the_coins_a_count_is_the_value_and_never_beyond_its_bound(
    pairs: list[tuple[float, float]],
) -> None:
    value, forecast = (np.array(column) for column in zip(*pairs, strict=True))
    run, label = 0.5, 0.4
    for share in (0.0, 0.6, 1.0):
        first = np.zeros(3)  # of the first row, whose share is fixed: never ran, ran, drawn
        for at, (ran, drawn) in enumerate([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]):
            weights = np.full(len(value), drawn / (run * label)), np.full(len(value), ran / run)
            counts, last = corrected(value, forecast, *weights, share)
            assert 0.0 <= last <= 1.0
            assert (np.abs(counts) <= 2.0 / (run * label) - 1.0 / run + 1e-9).all()
            first[at] = counts[0]
        chances = np.array([1.0 - run, run * (1.0 - label), run * label])
        assert float(first @ chances) == pytest.approx(value[0])


@pytest.mark.slow
def test_retained_accuracy_is_certified_with_a_grader_and_not_by_one_that_lies() -> None:
    rng, n = np.random.default_rng(20), 8000
    signal = rng.random(n)
    truth = (rng.random((n, 2)) < np.column_stack([0.6 + 0.39 * signal, np.full(n, 0.97)])).astype(float)
    drawn, target = rng.random(n) < 0.1, Target(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
    for up in (0.05, 1.0):  # the second calls everything right
        rows = CertificationRows(
            correct=np.where(drawn[:, None], truth, NAN),
            propensity=np.full(n, 0.1),
            observed=drawn,
            ids=tuple(str(row) for row in range(n)),
            forecast=judged(rng, truth, up=up, down=0.0),
            forecast_error=0.01,  # which the second belies
        )
        answer = certify_one_gate(signal, rows, target, 0.1)
        assert answer.status.value == "certified" or up == 1.0
        at = answer.thresholds[0]
        assert at is None or 0.6 + 0.39 * (1 + at[0].threshold) / 2 >= 0.9  # true accuracy above the threshold


def test_a_chain_of_three_tiers_is_certified_as_a_whole() -> None:
    rng, n = np.random.default_rng(21), 4000
    signals = rng.random((2, n))
    chance = np.column_stack([0.75 + 0.24 * signals[0], 0.85 + 0.14 * signals[1], np.full(n, 0.95)])
    truth = (rng.random((n, 3)) < chance).astype(float)
    drawn = rng.random(n) < 0.1
    rows = CertificationRows(
        correct=np.where(drawn[:, None], truth, NAN),
        propensity=np.full(n, 0.1),
        observed=drawn,
        ids=tuple(str(row) for row in range(n)),
        forecast=judged(rng, truth, up=0.05, down=0.02),
        forecast_error=0.02,
    )
    shown = [{"p_t": column} for column in signals]
    answer = certify_policy(PolicyKind.P_T, shown, rows, DROP, 0.1)
    assert answer.status.value == "certified"
    assert answer.drop_upper_bound <= 0.05
    assert (answer.test, answer.n) == (CertificationTest.CORRECTED_DROP, n)
    assert n / 2 < answer.rows_forecast < n - drawn.sum()
    assert answer.forecast_share is not None and 0.5 < answer.forecast_share <= 1.0


def agreeing(rng: np.random.Generator, n: int, *, error: float | None) -> tuple[np.ndarray, CertificationRows]:
    """Two tiers that hardly ever differ, a grader that errs on 3 % of verdicts, gold labels for a
    tenth of the rows.
    """
    signal = rng.random(n)
    kept = (rng.random(n) < 0.6 + 0.39 * signal).astype(float)
    truth = np.column_stack([kept, np.where(rng.random(n) < 0.03, 1.0 - kept, kept)])
    drawn = rng.random(n) < 0.1
    rows = CertificationRows(
        correct=np.where(drawn[:, None], truth, NAN),
        agrees=(truth[:, :1] == truth[:, 1:]),
        propensity=np.full(n, 0.1),
        observed=drawn,
        ids=tuple(str(row) for row in range(n)),
        forecast=np.where(rng.random((n, 2)) < 0.03, 1.0 - truth, truth),
        forecast_error=error,
    )
    return signal, rows


def test_a_certificate_of_accuracy_counts_the_rows_of_the_test_that_gave_it() -> None:
    """For the drop trusted labels alone are sharper here, for retained accuracy the grader is: each
    has its own test.
    """
    signal, rows = agreeing(np.random.default_rng(0), 6000, error=0.03)
    target = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.8)
    answer = certify_one_gate(signal, rows, target, 0.1)
    assert (answer.status.value, answer.test) == ("certified", CertificationTest.CORRECTED_ACCURACY)
    kept = signal >= answer.thresholds[0][0].threshold  # type: ignore[index]
    assert (answer.n, answer.rows_forecast) == (6000, int((kept & ~rows.seen).sum()))
    assert answer.forecast_share is not None and 0.5 < answer.forecast_share <= 1.0
    assert everything_kept(rows, 0.1).drop.basis(DROP.value) == Basis(
        test=CertificationTest.THINNED_DROP, n=int(rows.seen.sum()), assumed_wrong=0
    )


def test_forecasts_that_only_the_drop_uses_are_not_counted_for_accuracy() -> None:
    """Nobody measured the grader, so that its verdicts enter differences of two and no
    mean of one.
    """
    rng, n = np.random.default_rng(3), 3000
    kept = (rng.random(n) < 0.5).astype(float)
    truth = np.column_stack([kept, np.where(rng.random(n) < 0.8, 1.0 - kept, kept)])
    drawn = rng.random(n) < 0.1
    rows = CertificationRows(
        correct=np.where(drawn[:, None], truth, NAN),
        propensity=np.full(n, 0.1),
        observed=drawn,
        ids=tuple(str(row) for row in range(n)),
        forecast=truth,
    )
    tally, gold = everything_kept(rows, 0.1), int(drawn.sum())
    accuracy = tally.accuracy.basis(0.4)
    assert (accuracy.test, accuracy.n, accuracy.rows_forecast, accuracy.forecast_share) == (
        CertificationTest.THINNED_BINOMIAL,
        gold,
        0,
        None,
    )
    drop = tally.drop.basis(DROP.value)
    assert (drop.test, drop.n, drop.rows_forecast) == (CertificationTest.CORRECTED_DROP, n, n - gold)


RIGHT = np.random.default_rng(11).random((400, 2)) < 0.8
EVERYTHING = np.zeros(400, dtype=np.int64)


@pytest.fixture(scope="module")
def measured() -> CertificationRows:
    """400 rows: half of the gold labels are drawn, and a grader that was measured errs
    on some 3 %.
    """
    rng, n, truth = np.random.default_rng(12), 400, RIGHT.astype(float)
    drawn = rng.random(n) < 0.5
    return CertificationRows(
        correct=np.where(drawn[:, None], truth, NAN),
        propensity=np.full(n, 0.5),
        observed=drawn,
        ids=tuple(str(row) for row in range(n)),
        forecast=np.where(rng.random((n, 2)) < 0.03, 1.0 - truth, truth),
        forecast_error=0.03,
    )


def wins(counts: np.ndarray, mean: float, delta: float, bound: float, guess: float) -> bool:
    """A bet against "E > mean" whose wealth reaches 1/δ: what every corrected test is by
    definition.
    """
    return bool(log_capital(counts, mean, delta, bound, guess) >= np.log(1.0 / delta))


def in_order(rows: CertificationRows, values: np.ndarray) -> np.ndarray:
    assert rows.order is not None
    return np.nan_to_num(values, nan=0.0)[rows.order]


LEVELS = (0.02, 0.1, 0.2)


@pytest.mark.parametrize("delta", LEVELS)
def test_a_corrected_drop_is_tested_and_bounded_at_its_own_level(measured: CertificationRows, delta: float) -> None:
    gold, verdicts = np.asarray(measured.correct), np.asarray(measured.forecast)
    weights = in_order(measured, measured.drawn_weight), in_order(measured, measured.ran_weight)
    x, forecast = in_order(measured, gold[:, 1] - gold[:, 0]), in_order(measured, verdicts[:, 1] - verdicts[:, 0])
    counts, _ = corrected(x, forecast, *weights, 0.9)
    worst = np.nan_to_num(measured.outcome(EVERYTHING), nan=1.0)
    drop = corrected_drop(measured, EVERYTHING, worst, Plan(bet=True, first_share=0.9, variance_guess=0.3))
    upper, lower = drop.upper_bound(delta), drop.lower_bound(delta)
    assert -1.0 < lower < counts.mean() < upper < 1.0
    assert drop.estimate == pytest.approx(counts.mean())
    for at in (*np.linspace(-0.2, 0.2, 41), upper - 1e-4, upper + 1e-4, lower - 1e-4, lower + 1e-4):
        above, below = wins(counts, at, delta, 3.0, 0.3), wins(-counts, -at, delta, 3.0, 0.3)
        assert (drop.shown(at, delta), drop.missed(at, delta)) == (above, below)
        assert (above, below) == (at > upper, at < lower)
    needed = rows_needed_for_betting(counts.var(), 0.1 - counts.mean(), delta)
    assert drop.rows_needed(0.1, delta, exact=True) == drop.rows_needed(0.1, delta, exact=False) == needed


@pytest.mark.parametrize("delta", LEVELS)
def test_a_corrected_accuracy_is_tested_and_bounded_at_its_own_level(measured: CertificationRows, delta: float) -> None:
    gold, verdicts = np.asarray(measured.correct)[:, 0], np.asarray(measured.forecast)[:, 0]
    weights = in_order(measured, measured.drawn_weight), in_order(measured, measured.ran_weight)

    def counts(at_least: float) -> np.ndarray:
        return corrected(at_least - in_order(measured, gold), at_least - in_order(measured, verdicts), *weights, 0.9)[0]

    right = np.nan_to_num(gold, nan=0.0)
    accuracy = corrected_accuracy(measured, EVERYTHING, right, Plan(bet=True, first_share=0.9, variance_guess=0.2))
    upper, lower = accuracy.upper_bound(delta), accuracy.lower_bound(delta)
    assert accuracy.estimate is not None
    assert 0.5 < lower < accuracy.estimate < upper < 1.0
    for at in (*np.linspace(0.5, 0.99, 50), upper - 1e-4, upper + 1e-4, lower - 1e-4, lower + 1e-4):
        shown, missed = wins(counts(at), 0.0, delta, 2.0, 0.2), wins(-counts(at), 0.0, delta, 2.0, 0.2)
        assert (accuracy.shown(at, delta), accuracy.missed(at, delta)) == (shown, missed)
        assert (shown, missed) == (at < lower, at > upper)
    short = counts(0.6)
    assert accuracy.rows_needed(0.6, delta, exact=True) == rows_needed_for_betting(short.var(), -short.mean(), delta)
    start = rows_needed_for_betting(0.2, 0.1, delta)  # from where the bet is won at half the errors that .8 allows
    assert start is not None
    assert accuracy.testable(0.8, delta) is (start <= 400)
    assert replace(accuracy, retained=start - 1).testable(0.8, delta) is False


def small(**changes: object) -> CertificationRows:
    fields: dict[str, object] = {
        "correct": np.tile([[1.0, 1.0], [NAN, NAN]], (100, 1)),
        "forecast": np.ones((200, 2)),
        "propensity": np.full(200, 0.5),
        "observed": np.tile([True, False], 100),
        "ids": tuple(str(row) for row in range(200)),
    }
    return CertificationRows(**(fields | changes))  # type: ignore[arg-type]


def refusals() -> Iterator[tuple[type[Exception], str, dict[str, object]]]:
    only_where_gold_is_not = np.where(np.tile([True, False], 100)[:, None], NAN, np.ones((200, 2)))
    yield NotIdentifiedError, "assess all rows", {"forecast": only_where_gold_is_not}
    yield NotIdentifiedError, "known propensity", {"propensity": None, "observed": None}
    yield NotIdentifiedError, "known propensity", {"propensity": np.full(200, NAN)}
    yield InvalidInputError, "forecast has shape", {"forecast": np.ones((200, 3))}
    yield InvalidInputError, "forecast_error", {"forecast_error": 0.5}
    yield InvalidInputError, "likelier coin", {"run_propensity": np.full(200, 0.2)}


@pytest.mark.parametrize(("error", "message", "changes"), list(refusals()))
def test_forecasts_that_nothing_can_correct_are_refused(
    error: type[Exception], message: str, changes: dict[str, object]
) -> None:
    assert small().n == 200
    with pytest.raises(error, match=message):
        small(**changes)


@settings(deadline=None)
@given(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-0.75, 0.75), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_a_risk_increment_with_a_graders_forecast_has_the_mean_of_x_and_stays_in_range(
    x: float, guess: float, run: float, label: float
) -> None:
    least = run * label
    low, high = risk_range(0.02, least, 0.75)
    seen = risk_increments([x], [True], [least], 0.02, least, [guess], [1.0 / run])[0]
    ran = risk_increments([NAN], [False], [1.0], 0.02, least, [guess], [1.0 / run])[0]
    neither = risk_increments([NAN], [False], [1.0], 0.02, least, [guess], [0.0])[0]
    assert all(low - 1e-9 <= one <= high + 1e-9 for one in (seen, ran, neither))
    mean = run * label * seen + run * (1 - label) * ran + (1 - run) * neither
    assert mean == pytest.approx(least * (x - 0.02))


def test_a_run_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="forecast_weight"):
        risk_increments([1.0], [True], [0.5], 0.02, 0.5, [0.5], [0.0])  # observed, and yet it did not run


def test_a_biased_grader_raises_no_false_alarm_and_hides_no_harm() -> None:
    rng, runs, rung, heard = np.random.default_rng(22), 200, 0, 0
    low, high = risk_range(0.04, 0.2, 0.75)
    for _ in range(runs):
        for plus in (0.055, 0.14):  # drop .04 = ε, and .125
            traffic = Traffic(rng, 3000, plus, 0.015 if plus < 0.1 else 0.005, 0.3, 0.2)
            x = traffic.truth[:, 1] - traffic.truth[:, 0]
            guess = np.where(traffic.agrees[:, 0], 0.0, 0.75 * (traffic.verdicts[:, 1] - traffic.verdicts[:, 0]))
            increments = risk_increments(
                np.where(traffic.drawn, x, NAN), traffic.drawn, np.full(3000, 0.2), 0.04, 0.2, guess
            )
            watch = open_watch(AlarmRule(name="risk", low=low, high=high, alpha=0.05, starts=3))
            alarmed = advance_watch(watch, increments, np.arange(3000) // 1000).alarmed
            rung, heard = rung + (alarmed and plus < 0.1), heard + (alarmed and plus > 0.1)
    assert rung / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert heard / runs > 0.9
