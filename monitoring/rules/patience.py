"""How often a rule must be beyond its margin before its alert opens, and how long it must be quiet
before that is over: an alert that opens and closes all day is read by nobody.

What a rule said at its last looks is kept between runs. A look that says nothing (too few rows)
counts for neither side. The savings and the risk alarm have tests of their own over time, and are
left alone here; so is a word that closes an alert for good, such as that another champion is in
force.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from monitoring.errors import AlarmStateInvalid
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`bad` of the last `of` looks open an alert; `quiet` in a row resolve it."""

    bad: int = 1
    of: int = 1
    quiet: int = 2

    @property
    def kept(self) -> int:
        """Looks that are remembered."""
        return max(self.of, self.quiet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a rule said lately."""

    rule: Rule
    read_until: datetime  # the end of the last window that counted
    said: tuple[Standing, ...]  # oldest first
    began: datetime | None = None  # the start of the first window beyond the margin, until all is quiet


OWN_TEST = frozenset({Rule.SAVINGS, Rule.RISK})
_AT_ONCE = Patience()
_PATIENCE = {
    Rule.MISSING_SIGNAL: Patience(bad=2, of=3),  # escalating costs money only, and an engine may be started again
    Rule.LATE_DECISIONS: Patience(quiet=1),  # a look sees a whole day of windows
    Rule.STALE_RUNTIME: Patience(quiet=1),  # exact: every runtime serves it, or one does not
    Rule.JOB_BEHIND: Patience(bad=2, of=2),
    Rule.SILENT_RUNTIME: Patience(quiet=1),  # it is heard of, or it is not
    Rule.UNDELIVERED: Patience(quiet=1),  # a look sees a whole day of messages
}


def patience_of(rule: Rule) -> Patience | None:
    """How patient a rule is; None for the two alarms, which test over time themselves."""
    return None if rule in OWN_TEST else _PATIENCE.get(rule, _AT_ONCE)


def patiently(
    looks: Looks | None, assessment: Assessment, window: Window, *, open_details: Mapping[str, object] | None
) -> tuple[Looks | None, Assessment]:
    """What is remembered after this look, and what the assessment amounts to with those before it.

    `open_details` are those of the rule's open alert; None where there is none. A window that was
    counted already is not counted again.
    """
    patience = patience_of(assessment.rule)
    if patience is None or _says_nothing(assessment, open_details):
        return looks, assessment
    if looks is None or window.end > looks.read_until:
        looks = _after(looks, assessment, window, patience)
    if assessment.standing is Standing.RAISED:
        enough = looks.said[-patience.of :].count(Standing.RAISED) >= patience.bad
    else:
        last = looks.said[-patience.quiet :]
        enough = len(last) == patience.quiet and Standing.RAISED not in last
    return looks, assessment if enough else replace(assessment, standing=Standing.UNKNOWN)


def _says_nothing(assessment: Assessment, open_details: Mapping[str, object] | None) -> bool:
    if assessment.standing is Standing.UNKNOWN:
        return True
    clear = assessment.standing is Standing.CLEAR
    return clear and open_details is not None and not assessment.speaks_of(open_details)


def _after(looks: Looks | None, assessment: Assessment, window: Window, patience: Patience) -> Looks:
    before = () if looks is None else looks.said
    said = (*before, assessment.standing)[-patience.kept :]
    began = None if looks is None else looks.began
    if Standing.RAISED not in said:
        began = None
    elif began is None:
        began = window.start
    return Looks(rule=assessment.rule, read_until=window.end, said=said, began=began)


def looks_to_json(looks: Looks) -> str:
    """What is stored."""
    return codec.canonical(looks).decode()


def looks_from_json(text: str) -> Looks:
    """What was stored. Raises AlarmStateInvalid on anything else."""
    try:
        return codec.decode(Looks, json.loads(text))
    except (RecordInvalid, ValueError) as error:
        raise AlarmStateInvalid(f"the stored looks cannot be continued ({error}): delete them to start anew") from error
