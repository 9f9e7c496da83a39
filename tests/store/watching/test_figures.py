"""What monitoring keeps: figures, drift reports and the state of alarms, each in place of its
former self.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from store.watching.alarm_states import alarm_state, put_alarm_state
from store.watching.drift_reports import DriftReport, put_report, reports
from store.watching.figures import FigureRow, figures, put_figures


def figure(cast: Any, **fields: Any) -> FigureRow:
    given = {"name": "savings_usd", "n": 10, "mature": False, "computed_at": cast.at(61), "value": 1.5} | fields
    return FigureRow(cascade="geo", window=given.pop("window", cast.window(0, 60)), **given)


def test_a_figure_computed_again_takes_the_place_of_the_first(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast), figure(cast, tier=0), figure(cast, slice="cities", low=1.0, high=2.0)])
    again = figure(cast, value=None, n=12, not_identified="no propensities", computed_at=cast.at(70))
    put_figures(session, [again])
    stored = figures(session, "geo", names=["savings_usd"])
    assert set(stored) == {again, figure(cast, tier=0), figure(cast, slice="cities", low=1.0, high=2.0)}


def test_of_equal_figures_in_one_call_the_last_is_kept(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast, value=1.0), figure(cast, value=2.0)])
    assert [row.value for row in figures(session, "geo")] == [2.0]


def test_mature_and_immature_figures_stand_side_by_side(session: Session, cast: Any) -> None:
    put_figures(session, [figure(cast), figure(cast, mature=True, value=2.5)])
    assert [row.value for row in figures(session, "geo")] == [1.5, 2.5]
    assert [row.value for row in figures(session, "geo") if row.mature] == [2.5]


def test_figures_are_chosen_by_name_and_time(session: Session, cast: Any) -> None:
    windows = [cast.window(first, first + 60) for first in (0, 60, 120)]
    put_figures(session, [figure(cast, window=window) for window in windows] + [figure(cast, name="ece")])
    chosen = figures(session, "geo", names=["savings_usd"], since=cast.at(60), until=cast.at(120))
    assert [row.window for row in chosen] == [windows[1]]
    assert figures(session, "other") == ()


def test_reports_are_kept_as_json(session: Session, cast: Any) -> None:
    report = DriftReport(
        cascade="geo", window=cast.window(0, 60), tier=0, name="signals", document='{"a":1}', computed_at=cast.at(61)
    )
    whole = replace(report, tier=None)
    put_report(session, replace(report, document='{"a":0}'))
    put_report(session, report)
    put_report(session, whole)
    assert set(reports(session, "geo")) == {report, whole}
    assert reports(session, "other") == ()


def test_an_alarms_state_is_carried_exactly(session: Session, cast: Any) -> None:
    assert alarm_state(session, "geo", "risk") is None
    put_alarm_state(session, "geo", "risk", '{"wealth":0.30000000000000004,"read_to":null}', now=cast.at(0))
    put_alarm_state(session, "geo", "savings", "1", now=cast.at(0))
    assert alarm_state(session, "geo", "risk") == '{"read_to":null,"wealth":0.30000000000000004}'
    put_alarm_state(session, "geo", "risk", '{"wealth":1e-300}', now=cast.at(1))
    assert alarm_state(session, "geo", "risk") == '{"wealth":1e-300}'
