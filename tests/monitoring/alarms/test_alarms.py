"""Both alarms on planted harm and on healthy traffic; what they remember; what they
never do twice.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from knowgate._records.records import Reason, Window
from knowgate.spec import TargetKind, Targets
from monitoring.alarms.alarm_memory import memory_from_json, memory_to_json
from monitoring.alarms.alarms import Promise, Stop, watch_risk, watch_savings
from monitoring.alarms.risk_rows import COIN_REMEMBERED, risk_rows
from monitoring.errors import AlarmStateInvalid
from monitoring.rules.causes import accused_bundles
from monitoring.rules.rules import assess_alarm

PROMISE = Promise(champion="b1", others=frozenset(), savings_low=0.5)
HOURS = 24


def traffic(cast, *, retained, n, seed, bundle="b1", **changes):
    """n queries over a day; `retained` of them kept (cost 10 against 100 of the last tier, in 1e-6
    USD).
    """
    rng = np.random.default_rng(seed)
    kept = rng.random(n) < retained
    at = [cast.DAY + timedelta(seconds=float(s)) for s in np.sort(rng.random(n)) * 86_399]
    explored = rng.random(n) < 0.5
    return [
        cast.Asked(at=t, reason=None if k else Reason.P_T, explored=bool(k and e), bundle=bundle, **changes)
        for t, k, e in zip(at, kept, explored, strict=True)
    ]


def test_healthy_traffic_raises_no_savings_alarm(cast, cohort):
    # Retaining 70 % saves 1 − (10 + 30)/100 = 60 %, above the promised 50 %.
    memory = watch_savings(None, cohort(traffic(cast, retained=0.7, n=400, seed=1)), PROMISE)
    assert memory.raised_at is None
    assert memory.rows == 400
    assert memory.unit == "usd"
    assert memory.log_wealth < 1.0


def test_a_planted_loss_of_savings_is_heard_within_the_day(cast, cohort):
    # Retaining 10 % saves nothing: the loss is 50 points below the promise.
    day = cohort(traffic(cast, retained=0.1, n=400, seed=2))
    memory = watch_savings(None, day, PROMISE)
    assert memory.raised_at == day.window.end
    assert memory.families == ()


def test_after_an_alarm_a_new_family_with_a_smaller_level_is_opened(cast, cohort):
    loss = cohort(traffic(cast, retained=0.1, n=400, seed=2))
    rung = watch_savings(None, loss, PROMISE)
    first = watch_savings(None, cohort(traffic(cast, retained=0.7, n=50, seed=1)), PROMISE)
    shifted = [replace(asked, at=asked.at + timedelta(days=1)) for asked in traffic(cast, retained=0.7, n=50, seed=3)]
    again = watch_savings(rung, cohort(shifted, day=1), PROMISE)
    assert again.families[-1].number == 2
    assert again.families[-1].watch.rule.alpha == pytest.approx(first.families[-1].watch.rule.alpha / 4)
    assert again.raised_at == rung.raised_at  # quiet for one day proves nothing


def test_the_alarm_is_quiet_again_after_two_days_without_harm(cast, cohort):
    memory = watch_savings(None, cohort(traffic(cast, retained=0.1, n=400, seed=2)), PROMISE)
    for day in (1, 2, 3):
        asked = [replace(one, at=one.at + timedelta(days=day)) for one in traffic(cast, retained=0.8, n=60, seed=day)]
        memory = watch_savings(memory, cohort(asked, day=day), PROMISE)
    assert memory.raised_at is None


def test_a_new_champion_opens_a_family_that_starts_where_the_window_of_its_first_decision_ends(cast, cohort):
    old = watch_savings(None, cohort(traffic(cast, retained=0.7, n=100, seed=1)), PROMISE)
    days = [
        [replace(one, at=one.at + timedelta(days=day), bundle=bundle(one.at.hour)) for one in asked]
        for day, bundle, asked in (
            (1, lambda hour: "b2" if hour >= 12 else "b1", traffic(cast, retained=0.7, n=100, seed=4)),
            (2, lambda hour: "b2", traffic(cast, retained=0.7, n=80, seed=5)),
        )
    ]
    promise = replace(PROMISE, champion="b2")
    moved = watch_savings(old, cohort(days[0], day=1), promise)
    assert (moved.basis, moved.families, moved.families_opened) == ("b2", (), 1)
    watching = watch_savings(moved, cohort(days[1], day=2), promise)
    assert (watching.families[-1].number, watching.rows) == (2, 80)
    assert watching.families[-1].opened_at == cast.DAY + timedelta(days=2)


def test_the_challengers_decisions_are_not_held_against_the_champion(cast, cohort):
    mixed = traffic(cast, retained=0.7, n=100, seed=1) + traffic(cast, retained=0.0, n=50, seed=2, bundle="b9")
    memory = watch_savings(None, cohort(mixed), replace(PROMISE, others=frozenset({"b9"})))
    assert memory.rows == 100


def test_without_a_promise_the_alarm_waits_and_says_why(cast, cohort):
    memory = watch_savings(None, cohort(traffic(cast, retained=0.1, n=50, seed=1)), None)
    assert memory.families == ()
    assert "certified" in memory.idle


def test_without_prices_savings_are_watched_in_gflops(cast, cohort):
    tiers = tuple(replace(tier, prices=()) for tier in cast.spec_of().tiers)
    memory = watch_savings(None, cohort(traffic(cast, retained=0.1, n=400, seed=2), tiers=tiers), PROMISE)
    assert memory.unit == "gflops"
    assert memory.raised_at is not None


def test_one_decision_that_costs_nothing_does_not_change_the_unit(cast, cohort):
    day = cohort(traffic(cast, retained=0.1, n=400, seed=2))
    free = day.decisions["expected_last_usd"].where(day.decisions.index != day.decisions.index[0], 0.0)
    memory = watch_savings(None, replace(day, decisions=day.decisions.assign(expected_last_usd=free)), PROMISE)
    assert memory.unit == "usd"


def test_a_query_beyond_the_declared_bound_is_cut_and_counted(cast, cohort):
    asked = [*traffic(cast, retained=0.7, n=50, seed=1), cast.Asked(bundle="b1", tokens=5000, reason=Reason.P_T)]
    assert watch_savings(None, cohort(asked), PROMISE).cut_rows == 1


def test_the_bound_of_a_cost_is_at_the_dearer_of_a_tiers_two_prices(cast, cohort):
    def watched(read, written):
        small, large = cast.spec_of().tiers
        (price,) = small.prices
        price = replace(price, usd_per_million_tokens_in=read, usd_per_million_tokens_out=written)
        day = cohort(traffic(cast, retained=0.7, n=50, seed=1), tiers=(replace(small, prices=(price,)), large))
        rule = watch_savings(None, day, PROMISE).families[0].watch.rule
        return rule.low, rule.high

    assert watched(1.0, 3.0) == watched(3.0, 1.0) != watched(1.0, 1.0)


def test_rows_are_consumed_once_and_blocks_do_not_matter(cast, cohort):
    day = cohort(traffic(cast, retained=0.6, n=200, seed=5, small=1.0, large=1.0))
    noon = cast.DAY + timedelta(hours=12)
    halves = [Window(start=cast.DAY, end=noon), Window(start=noon, end=day.window.end)]
    whole = watch_risk(None, day)
    split = watch_risk(watch_risk(None, day.between(halves[0])), day.between(halves[1]))
    assert split.families[-1].watch.rows == whole.families[-1].watch.rows
    assert split.log_wealth == whole.log_wealth
    assert watch_risk(whole, day).rows == whole.rows


def test_the_memory_comes_back_from_json_bit_for_bit(cast, cohort):
    memory = watch_savings(None, cohort(traffic(cast, retained=0.6, n=100, seed=5)), PROMISE)
    assert memory_from_json(memory_to_json(memory)) == memory
    with pytest.raises(AlarmStateInvalid, match="delete"):
        memory_from_json('{"rule": "savings"}')


def test_a_planted_drop_is_heard_by_the_risk_alarm(cast, cohort):
    harmed = traffic(cast, retained=0.9, n=400, seed=6, small=0.0, large=1.0)
    memory = watch_risk(None, cohort(harmed))
    assert memory.raised_at is not None


def test_harmless_answers_raise_no_risk_alarm(cast, cohort):
    fine = traffic(cast, retained=0.9, n=400, seed=6, small=1.0, large=1.0)
    memory = watch_risk(None, cohort(fine))
    assert memory.raised_at is None
    assert memory.least_propensity == 0.5


def test_missing_labels_never_raise_an_alarm(cast, cohort):
    """Half of the harmful pairs are labelled by whoever felt like it: the missing half counts as
    the best case.
    """
    labelled = traffic(cast, retained=1.0, n=200, seed=6, small=0.0, large=1.0, label_propensity=None)
    silent = traffic(cast, retained=1.0, n=300, seed=7)
    assert watch_risk(None, cohort(labelled + silent)).raised_at is None


def test_labels_drawn_by_a_coin_are_weighted_and_the_rest_left_out(cast, cohort):
    drawn = [cast.Asked(explored=True, small=0.0, large=1.0, label_propensity=0.25) for _ in range(5)]
    rest = [cast.Asked(explored=True) for _ in range(15)]
    rows = cohort(drawn + rest).decisions
    x, observed, propensity = risk_rows(rows, cast.spec_of())
    assert observed.sum() == 5
    assert set(x[observed]) == {1.0}
    assert set(propensity[observed]) == {0.125}


def drawn_harm(cast, *, hours, coin=0.2, n=24, first=0, always=()):
    """Per hour n explored decisions that lost all their accuracy; the last of every fifth hour is
    labelled, by coin. `always`: hours of which one decision is labelled for sure.
    """
    for hour in range(first, first + hours):
        for number in range(n):
            drawn = number == n - 1 and hour % 5 == 0
            sure = number == 0 and hour in always
            yield cast.Asked(
                at=cast.DAY + timedelta(hours=hour, seconds=number),
                explored=True,
                run_propensity=0.5,
                small=0.0 if drawn or sure else None,
                large=1.0 if drawn or sure else None,
                label_propensity=1.0 if sure else coin,
            )


def hourly(memory, day, hours):
    for hour in hours:
        start = day.window.start + timedelta(hours=hour)
        memory = watch_risk(memory, day.between(Window(start=start, end=start + timedelta(hours=1))))
    return memory


def test_an_hour_in_which_no_drawn_label_fell_is_none_of_harmless_answers(cast, cohort):
    """The wealth is the same whether the day is consumed at once or by the hour."""
    day = cohort(list(drawn_harm(cast, hours=24, coin=0.01, always=(7, 13))))
    by_hour, at_once = hourly(None, day, range(24)), watch_risk(None, day)
    assert by_hour.families == at_once.families and by_hour.families[0].number == 1
    assert by_hour.families[0].watch.mean_increment == pytest.approx(
        (0.5 * 0.01) * ((4 / 0.005 + 2 / 0.5) / at_once.rows - 0.02)
    )
    assert by_hour.coin_seen_at == cast.DAY + timedelta(hours=20, seconds=23)


def test_a_coin_is_forgotten_a_month_after_the_last_label_it_drew(cast, cohort):
    day = cohort(list(drawn_harm(cast, hours=24)))
    memory = hourly(None, day, range(21))
    for gone, blind in ((COIN_REMEMBERED - timedelta(hours=5), False), (COIN_REMEMBERED, True)):
        later = replace(memory, coin_seen_at=memory.coin_seen_at - gone)
        (family,) = hourly(later, day, [22]).families
        lost = family.watch.growth - memory.families[0].watch.growth
        assert (lost < -1.0) is blind, "unlabelled rows count as the best case"


def test_what_came_before_the_first_label_is_passed_over_and_costs_no_family(cast, cohort):
    day = cohort(list(drawn_harm(cast, hours=20, first=2)))
    waiting = hourly(None, day, range(5))
    assert (waiting.families_opened, waiting.coin_seen_at) == (0, None)
    assert waiting.idle == "no label has come that shows how labels are drawn"
    started = hourly(waiting, day, [5])
    assert (started.families_opened, started.least_propensity) == (0, 0.1), (
        "the first label is the last row of its hour"
    )
    watching = hourly(started, day, [6])
    assert (watching.families_opened, watching.rows, watching.idle) == (1, 24, None)


def test_the_run_that_a_forecast_needed_counts_among_the_smallest_chances(cast, cohort):
    later = cast.DAY + timedelta(minutes=1)  # what comes before the first label is passed over
    said = cast.Asked(at=later, explored=True, verdicts=(1.0, 0.0))
    drawn = replace(said, at=cast.DAY, small=1.0, large=0.0, label_propensity=0.5)
    rare, unexplored = replace(said, run_propensity=0.1), cast.Asked(at=later)
    assert watch_risk(None, cohort([said, drawn, unexplored], judged=True)).least_propensity == 0.25
    assert watch_risk(None, cohort([rare, drawn, unexplored], judged=True)).least_propensity == 0.1
    likelier = cast.Asked(explored=True, small=1.0, large=0.0, run_propensity=0.8)
    assert watch_risk(None, cohort([likelier])).least_propensity == 0.5, "the rate, by which others will run"


def test_equal_answers_do_not_show_how_labels_are_drawn(cast, cohort):
    same = [cast.Asked(explored=True, answers=("a", "a"), small=1.0, large=1.0, label_propensity=0.2)] * 3
    assert watch_risk(None, cohort(same)).least_propensity is None
    assert watch_risk(None, cohort([replace(one, label_propensity=1.0) for one in same])).least_propensity == 0.5


def test_an_unlogged_exploration_coin_stops_the_risk_alarm(cast, cohort):
    memory = watch_risk(None, cohort([cast.Asked(explored=True, small=0.0, large=1.0, run_propensity=None)] * 3))
    assert "run propensity" in memory.idle


def test_a_target_of_retained_accuracy_watches_what_is_retained(cast, cohort):
    targets = Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
    wrong = traffic(cast, retained=0.5, n=200, seed=6, small=0.0)
    right = traffic(cast, retained=0.5, n=200, seed=6, small=1.0)
    assert watch_risk(None, cohort(wrong, targets=targets)).raised_at is not None
    quiet = watch_risk(None, cohort(right, targets=targets))
    assert (quiet.raised_at, quiet.least_propensity) == (None, 1.0)
    drawn = watch_risk(None, cohort([cast.Asked(small=1.0, label_propensity=0.25)], targets=targets))
    silent = cohort([cast.Asked(at=cast.DAY + timedelta(days=1))], day=1, targets=targets)
    assert watch_risk(drawn, silent).least_propensity == 0.25


@pytest.mark.slow
def test_traffic_at_the_edge_of_the_promise_alarms_no_more_often_than_alpha(cast):
    """The promise is met exactly, with margin 0: the worst case of "healthy". 200 runs, level .05
    of α = .1.
    """
    from evidence.alarms.alarms import AlarmRule, advance_watch, open_watch

    rng, alarms = np.random.default_rng(11), 0
    for _ in range(200):
        # C is 100 with probability .4, else 10: mean 46 against 46 allowed of the last tier's 100.
        cost = np.where(rng.random(3000) < 0.4, 100.0, 10.0)
        increments = (cost - 46.0) / 100.0
        watch = open_watch(AlarmRule(name="savings", low=-0.5, high=1.1, alpha=0.05, starts=31))
        alarms += advance_watch(watch, increments, np.arange(3000) // 100).alarmed
    assert alarms / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def savings_alarms(forecast_error, *, runs=60, n=2800):
    """The share of runs that alarm at a level of .025. The promise of 50 % is kept exactly, the
    margin is 5 points.

    60 % are retained, and would cost the last tier more than their forecast by `forecast_error` of
    that cost.
    """
    from evidence.alarms.alarms import AlarmRule, advance_watch, open_watch
    from evidence.alarms.increments import savings_increments, savings_range

    rng, alarms = np.random.default_rng(1), 0
    low, high = savings_range(275.0, 250.0, 0.5, 0.05)
    for _ in range(runs):
        retained = rng.random(n) < 0.6
        last = 100.0 * rng.lognormal(-0.02, 0.2, n)
        cost = np.where(retained, last / 10, last / 10 + last)
        expected = np.where(retained, last * (1.0 - forecast_error), last)
        increments = np.clip(savings_increments(cost, np.minimum(expected, 250.0), 0.5, 0.05), low, high)
        watch = open_watch(AlarmRule(name="savings", low=low / 250, high=high / 250, alpha=0.025, starts=31))
        alarms += advance_watch(watch, increments / 250, np.arange(n) // 100).alarmed
    return alarms / runs


def test_the_savings_alarm_holds_its_rate_while_the_forecast_errs_by_less_than_the_margin_allows():
    """The bound is margin / (retained share · (1 − promise + margin)) = .05 / (.6 · .55) = .15 of
    the cost.
    """
    assert savings_alarms(0.14) <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 60)
    assert savings_alarms(0.30) > 0.5


def test_the_alert_says_what_the_forecast_rests_on(cast, cohort):
    day = cohort(traffic(cast, retained=0.1, n=400, seed=2))
    details = assess_alarm(watch_savings(None, day, PROMISE), lambda: "less is retained").details
    assert details["forecast_ratio"] == pytest.approx(1.0) and details["forecast_rows"] > 300


def of_varying_lengths(cast, cohort, *, retained, n=2000):
    """Short queries on which the last tier costs three times its price of their tokens, and long
    ones on which it costs half: the ratio of the sums is .56, the mean of the ratios 1.75.
    """
    day = cohort(traffic(cast, retained=retained, n=n, seed=9, tokens=40))
    rows = day.decisions
    long = np.random.default_rng(10).random(len(rows)) < 0.5
    price, spent = np.where(long, 400e-6, 10e-6), np.where(long, 200e-6, 30e-6)
    ran = ~np.isnan(rows["last_usd"].to_numpy())
    small = price / 10
    rows = rows.assign(
        expected_last_usd=price,
        last_usd=np.where(ran, spent, np.nan),
        usd=small + np.where(rows["retained"], 0.0, spent),
    )
    return replace(day, decisions=rows)


@pytest.mark.slow
def test_a_loss_is_not_hidden_where_the_last_tier_writes_much_on_short_queries_alone(cast, cohort):
    """40 % retained save 40 − 18 = 22 points, 50 are promised; by the mean of the ratios what is
    retained would seem to spare three times what it does.
    """
    lost = watch_savings(None, of_varying_lengths(cast, cohort, retained=0.4), PROMISE)
    assert lost.raised_at is not None and lost.forecast_ratio == pytest.approx(230 / 410, abs=0.03)
    kept = watch_savings(None, of_varying_lengths(cast, cohort, retained=0.9), PROMISE)
    assert kept.raised_at is None


def harm_of_day(cast, cohort, day, **changes):
    shifted = [
        replace(one, at=one.at + timedelta(days=day))
        for one in traffic(cast, retained=0.9, n=400, seed=10 + day, small=0.0, large=1.0)
    ]
    return cohort(shifted, day=day, **changes)


@pytest.mark.slow
def test_harm_that_goes_on_rings_again_and_again_each_time_in_a_family_of_its_own(cast, cohort):
    memory, rang = None, []
    for day in range(3):
        memory = watch_risk(memory, harm_of_day(cast, cohort, day))
        rang.append((memory.raised_at, memory.families_opened))
        assessed = assess_alarm(memory, lambda: "harm", lambda: ("b1",))
        assert (
            assessed.ring is not None and assessed.ring.until == memory.raised_at and assessed.ring.accused == ("b1",)
        )
    assert rang == [(cast.DAY + timedelta(days=day + 1), day + 1) for day in range(3)]


@pytest.mark.slow
def test_what_a_stopped_bundle_decided_before_the_stop_reached_it_accuses_nobody_again(cast, cohort):
    memory = watch_risk(None, harm_of_day(cast, cohort, 0))
    stop = Stop(bundle="b1", read_until=memory.raised_at, at=memory.raised_at + timedelta(days=1))
    passed_over = watch_risk(memory, harm_of_day(cast, cohort, 1), [stop])
    assert (passed_over.raised_at, passed_over.rows) == (memory.raised_at, 0)
    assert watch_risk(passed_over, harm_of_day(cast, cohort, 2), [stop]).raised_at == cast.DAY + timedelta(days=3)
    other = replace(stop, bundle="b2")
    assert watch_risk(memory, harm_of_day(cast, cohort, 1), [other]).raised_at == cast.DAY + timedelta(days=2)


def test_another_target_is_watched_from_the_start(cast, cohort):
    rung = watch_risk(None, harm_of_day(cast, cohort, 0))
    rung = replace(rung, least_propensity=0.01, forecast_share=0.5)
    fine = [
        replace(one, at=one.at + timedelta(days=1))
        for one in traffic(cast, retained=0.9, n=50, seed=6, small=1.0, large=1.0)
    ]
    stricter = Targets(kind=TargetKind.MAX_ACCURACY_DROP, value=0.01)
    moved = watch_risk(rung, cohort(fine, day=1, targets=stricter))
    assert (moved.basis, moved.raised_at, moved.forecast_share) == ("max_accuracy_drop 0.01", None, 0.0)
    assert moved.least_propensity == 0.5 and moved.families[-1].watch.rule.low == pytest.approx(-1.0 - 0.5 * 0.01)
    same = watch_risk(rung, cohort(fine, day=1))
    assert (same.raised_at, same.least_propensity) == (rung.raised_at, 0.01)


def test_the_smallest_propensity_is_remembered_beyond_the_block_that_showed_it(cast, cohort):
    rare = [replace(one, run_propensity=0.1) for one in traffic(cast, retained=0.9, n=50, seed=6, small=1.0, large=1.0)]
    memory = watch_risk(None, cohort(rare))
    assert memory.least_propensity == 0.1
    later = [
        replace(one, at=one.at + timedelta(days=1))
        for one in traffic(cast, retained=0.9, n=50, seed=7, small=1.0, large=1.0)
    ]
    moved = watch_risk(memory, cohort(later, day=1))
    assert moved.least_propensity == 0.1
    assert moved.families[-1].watch.rows == memory.rows + 50, "the same family goes on"
    rarer = [replace(one, run_propensity=0.05, at=one.at + timedelta(days=1)) for one in later]
    assert watch_risk(moved, cohort(rarer, day=2)).least_propensity == 0.05


def test_a_ring_accuses_the_bundle_whose_own_decisions_show_the_harm(cast, cohort):
    bad = traffic(cast, retained=0.9, n=200, seed=6, small=0.0, large=1.0, bundle="bad")
    good = traffic(cast, retained=0.9, n=200, seed=7, small=1.0, large=1.0, bundle="good")
    few = traffic(cast, retained=0.9, n=4, seed=8, small=0.0, large=1.0, bundle="few")
    assert accused_bundles(cohort(bad + good + few)) == ("bad",)
    targets = Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
    assert accused_bundles(cohort(bad + good + few, targets=targets)) == ("bad",)
