"""Which probability P(T) was is kept as it was sent; where nobody said, it is what the cascade
declared then.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from knowgate._records.records import PTKind, Window
from knowgate._wire import codec
from store.releases.cascades import apply_cascade, declared_p_t_kinds
from store.tables import CascadeVersionRow
from store.traffic.decisions import add_decisions, decision
from store.traffic.examples import labelled


def declared(spec: Any, kind: PTKind) -> Any:
    return replace(spec, tiers=(replace(spec.tiers[0], p_t_kind=kind), *spec.tiers[1:]))


def test_kinds_are_stored_and_read_back(session: Session, cast: Any) -> None:
    apply_cascade(session, cast.spec, now=cast.at(0))
    sent = cast.retained()
    first, *others = sent.attempts
    sent = replace(sent, attempts=(replace(first, p_t_kind=PTKind.OPTION, entropy=0.4, margin=0.6), *others))
    add_decisions(session, [sent], received_at=cast.at(1))
    read = decision(session, sent.id)
    assert [attempt.p_t_kind for attempt in read.attempts] == [PTKind.OPTION, *[None] * len(others)]
    assert session.execute(text("SELECT p_t_kind FROM attempt WHERE tier = 0")).scalar_one() == "option"


def test_what_nobody_said_is_what_the_version_of_the_time_declared(session: Session, cast: Any) -> None:
    kinds = (PTKind.MEAN, PTKind.FIRST_TOKEN)
    for at, kind in enumerate(kinds):
        apply_cascade(session, declared(cast.spec, kind), now=cast.at(at))
        said = cast.retained(external_id=f"q-{at}")
        first, *others = said.attempts
        named = cast.retained(external_id=f"named-{at}")
        named = replace(named, attempts=(replace(first, p_t_kind=PTKind.OPTION), *others))
        add_decisions(session, [said, named], received_at=cast.at(at + 1))
    everything = Window(start=cast.at(0) - timedelta(days=2), end=cast.at(0) + timedelta(days=30))
    examples = labelled(session, cast.spec.name, everything, as_of=cast.at(0) + timedelta(days=30))
    found = sorted(str(kind) for kind in examples.p_t_kind[examples.tier == 0])
    assert found == ["first_token", "mean", "option", "option"]
    versions = {version for version, _ in declared_p_t_kinds(session, cast.spec.name)}
    assert len(versions) >= 2


def test_a_version_that_cannot_be_read_hides_no_other_versions_kinds(session: Session, cast: Any) -> None:
    apply_cascade(session, declared(cast.spec, PTKind.MEAN), now=cast.at(0))
    add_decisions(session, [cast.retained(external_id="q-0")], received_at=cast.at(1))
    spoilt = codec.encode(cast.spec) | {"alarms": {"max_tokens": 10**26}}  # as one applied before it was refused
    session.execute(update(CascadeVersionRow).values(spec=spoilt), execution_options={"noted": False})
    apply_cascade(session, declared(cast.spec, PTKind.FIRST_TOKEN), now=cast.at(2))
    add_decisions(session, [cast.retained(external_id="q-1")], received_at=cast.at(3))
    assert set(declared_p_t_kinds(session, cast.spec.name).values()) == {"first_token"}
    everything = Window(start=cast.at(0) - timedelta(days=2), end=cast.at(0) + timedelta(days=30))
    examples = labelled(session, cast.spec.name, everything, as_of=cast.at(0) + timedelta(days=30))
    assert set(examples.p_t_kind[examples.tier == 0]) == {None, "first_token"}
