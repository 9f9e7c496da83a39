"""What `knowgate simulate` and the demo print when they are done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.commands.progress import print_lines
from services.simulation.summary import Accuracy, AlertLine, Audit, Auroc, Labels, Savings, Summary, Week
from services.simulation.summary_lines import summary_lines


def summary(*, verified: bool) -> Summary:
    return Summary(
        cascade="recorded",
        queries=18_684,
        retained_share=0.0972,
        accuracy=Accuracy(cascade=0.8738, always_large=0.8764, always_small=0.5484),
        savings=Savings(usd=0.036, gflops=-0.0126, exploration_usd=0.0112),
        auroc=Auroc(p_t=0.7805, p_ik=None, score=None),
        bundles=(),
        champion=None,
        alerts=(),
        labels=Labels(sent=35_744, late=1_196, mature=35_744),
        audit=Audit(entries=64_052, replayed=18_684, mismatches=0, verified=verified),
    )


def test_it_is_one_readable_line_per_subject(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(summary_lines(summary(verified=True)))
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "queries 18,684 9.7% kept by the small one" in printed
    assert "AUROC – score; p_t alone 0.780, p_ik –" in printed
    assert not any("{" in line for line in printed)


def test_a_ledger_that_does_not_verify_is_named() -> None:
    assert [line.value for line in summary_lines(summary(verified=False)) if line.name == "audit"] == ["FAILED"]


def test_a_week_says_what_was_kept_what_trainings_were_made_for_and_what_rang() -> None:
    start = datetime(2026, 3, 26, tzinfo=UTC)
    week = Week(
        start=start,
        queries=4200,
        retained_share=0.4105,
        savings_usd=0.352,
        accuracy_drop=0.0123,
        trained=("schedule (its turn): certified", "labels (10): certified", "labels (12): not attempted"),
        promoted=2,
        alerts=("alert: drift: p_t moved", "resolved: drift: no column drifts"),
    )
    drift = AlertLine(rule="drift", cause="p_t moved", opened_at=start, resolved_at=start + timedelta(days=12))
    lines = {line.name: line for line in summary_lines(replace(summary(verified=True), weeks=(week,), alerts=(drift,)))}
    assert (lines["26 Mar"].value, lines["26 Mar"].note) == (
        "41.0%",
        "kept; 35.2% saved, accuracy -1.23 points; trained for schedule, labels ×2: 2 put in force; drift alert;"
        " drift resolved",
    )
    assert lines["alerts"].note == "drift resolved after 12 days"
