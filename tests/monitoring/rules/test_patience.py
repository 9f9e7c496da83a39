"""An alert opens after as many bad looks as its rule says, and is over after quiet ones."""

from datetime import UTC, datetime, timedelta

import pytest

from knowgate._records.records import Window
from monitoring.errors import AlarmStateInvalid
from monitoring.names import Rule
from monitoring.rules.patience import looks_from_json, looks_to_json, patience_of, patiently
from monitoring.rules.rules import Assessment, Standing

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
OF = {"r": Standing.RAISED, "c": Standing.CLEAR, "u": Standing.UNKNOWN}
IN = {standing: letter for letter, standing in OF.items()}


def judged(rule, said, *, details=None):
    """What each of these looks amounts to, an hour apart, and what is remembered in the end."""
    looks, judgements = None, ""
    for number, letter in enumerate(said):
        window = Window(start=START + number * HOUR, end=START + (number + 1) * HOUR)
        assessment = Assessment(rule=rule, standing=OF[letter])
        looks, amounts = patiently(looks, assessment, window, open_details=details)
        judgements += IN[amounts.standing]
        looks = None if looks is None else looks_from_json(looks_to_json(looks))
    return judgements, looks


@pytest.mark.parametrize(
    ("rule", "said", "amounts"),
    [
        (Rule.MISSING_SIGNAL, "rrr", "urr"),  # two of the last three
        (Rule.MISSING_SIGNAL, "rcr", "uur"),
        (Rule.MISSING_SIGNAL, "rccr", "uucu"),
        (Rule.MISSING_SIGNAL, "rur", "uur"),  # a look that says nothing counts for neither side
        (Rule.DRIFT, "rcrcc", "ruruc"),  # at once; over after two quiet looks
        (Rule.CONSTANT_SIGNAL, "rcuc", "ruuc"),
        (Rule.STALE_RUNTIME, "rc", "rc"),
        (Rule.JOB_BEHIND, "rcrr", "uuur"),
        (Rule.RISK, "rcr", "rcr"),  # the alarms test over time themselves
    ],
)
def test_looks_open_and_resolve_as_their_rule_says(rule, said, amounts):
    assert judged(rule, said)[0] == amounts


def test_since_when_is_kept_until_all_is_quiet():
    assert judged(Rule.MISSING_SIGNAL, "crc")[1].began == START + HOUR
    assert judged(Rule.MISSING_SIGNAL, "crcr")[1].began == START + HOUR
    assert judged(Rule.MISSING_SIGNAL, "crccc")[1].began is None


def test_a_window_that_is_watched_again_counts_once():
    window = Window(start=START, end=START + HOUR)
    raised = Assessment(rule=Rule.MISSING_SIGNAL, standing=Standing.RAISED)
    looks, _ = patiently(None, raised, window, open_details=None)
    again, amounts = patiently(looks, raised, window, open_details=None)
    assert (again, amounts.standing) == (looks, Standing.UNKNOWN)


def test_a_quiet_look_at_something_else_is_none():
    clear = Assessment(rule=Rule.CONSTANT_SIGNAL, standing=Standing.CLEAR, covers=frozenset({"small.p_t"}))
    window = Window(start=START, end=START + HOUR)
    looks, _ = patiently(None, clear, window, open_details={"columns": "small.p_ik"})
    assert looks is None
    looks, _ = patiently(None, clear, window, open_details={"columns": "small.p_t"})
    assert looks is not None


def test_every_rule_but_the_alarms_has_its_patience():
    assert {rule for rule in Rule if patience_of(rule) is None} == {Rule.SAVINGS, Rule.RISK}
    assert all(patience.bad <= patience.of for rule in Rule if (patience := patience_of(rule)) is not None)


def test_looks_that_cannot_be_read_are_named_with_the_cure():
    with pytest.raises(AlarmStateInvalid, match="delete them to start anew"):
        looks_from_json('{"said": 3}')
