"""`knowgate advise --cascade`: what was observed, through the runtime and the store."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from factories import Kept, make_label
from knowgate import Cascade, Observation, Role
from knowgate._bundles.pair import Pair
from knowgate._records.ids import new_id
from knowgate.spec import CascadeSpec
from services.advice.observed import advise_on
from services.declaration.cascade_file import parse_cascade
from services.promotion import generations
from services.settings import Settings
from store.engine import reading, transaction
from store.releases import assignments, cascades
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from training.certification.outcomes import logged_rows
from training.rows.dataset import read_window

START = datetime.fromisoformat("2026-03-02T00:00:00Z")
NOW = START + timedelta(days=9)
TOML = """
name = "trivia"
[targets]
value = 0.05
rule = "p_t"
[observe]
rate = 0.4
[horizons]
gold = "1d"
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 1, usd_per_million_tokens_out = 2 }]
[[tiers]]
name = "large"
model = "huge"
parameters = 10e9
prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 10, usd_per_million_tokens_out = 20 }]
"""


@pytest.fixture
def spec(engine: Engine, settings: Settings) -> CascadeSpec:
    """The cascade, just declared."""
    declared = parse_cascade(TOML)
    with transaction(engine) as session:
        cascades.apply_cascade(session, declared, now=START)
        generations.declare(session, declared, settings, now=START)
    return declared


def serve(engine: Engine, spec: CascadeSpec, n: int, *, labelled: bool = True) -> int:
    """n queries as a serving process takes them; how many were observed. The small tier is right as
    often as its P(T) says, above .5.
    """
    rng, log = np.random.default_rng(5), Kept()
    with reading(engine) as session:
        assigned = assignments.assignment(session, spec.name)
    assert assigned is not None
    models = [tier.model for tier in spec.tiers]
    cascade = Cascade(spec.name, Pair(assignment=assigned), hash_key=bytes(32), models=models, spool=log)
    labels: list[Any] = []
    for number in range(n):
        at = START + timedelta(hours=1, seconds=number)
        p_t, noise = rng.random(), rng.random()
        with cascade.open(decision_id=new_id(at), now=at, external_id=f"q{number}") as query:
            query.attempt(Observation(answer="large", tokens_in=100, tokens_out=5), tier=query.next_tier)
            while query.explore:
                shown = Observation(answer="small", p_t=p_t, tokens_in=100, tokens_out=5)
                query.attempt(shown, tier=query.next_tier)
        labels += [
            make_label(query.decision, tier=attempt.tier, correct=float(attempt.tier == 1 or noise < p_t + 0.5))
            for attempt in query.decision.attempts
            if attempt.role is not Role.SKIPPED
        ]
    with transaction(engine) as session:
        add_decisions(session, [decision for decision, _ in log.rows], received_at=NOW - timedelta(days=2))
        add_labels(session, labels if labelled else [], received_at=NOW - timedelta(days=1))
    return sum(decision.attempts[0].role is Role.EXPLORATION for decision, _ in log.rows)


def test_before_anything_is_observed_it_says_so(engine: Engine, spec: CascadeSpec) -> None:
    with reading(engine) as session:
        observed = advise_on(session, spec.name, now=NOW)
    assert (observed.mode, observed.observed, observed.advice) == ("observe", 0, None)
    assert observed.why_no_advice == "no decision was observed yet"
    assert observed.prospect is not None and observed.prospect.bundle is None


@pytest.mark.slow
def test_what_was_observed_says_what_would_be_kept_and_saved(engine: Engine, spec: CascadeSpec) -> None:
    observed_here = serve(engine, spec, 1500)
    with reading(engine) as session:
        observed = advise_on(session, spec.name, now=NOW)
    assert observed.observed == observed_here
    advice = observed.advice
    assert advice is not None and advice.certificate.status == "certified"
    # Half can be kept without a loss, .82 with one of 5 points; the small tier costs a tenth.
    assert 0.6 < advice.retained_share < 0.85
    assert advice.costs[0].savings.value == pytest.approx(advice.retained_share - 0.1, abs=0.02)
    assert observed.labels.labelled == observed_here


def test_without_labels_it_says_how_many_are_missing(engine: Engine, spec: CascadeSpec) -> None:
    serve(engine, spec, 60, labelled=False)
    with reading(engine) as session:
        observed = advise_on(session, spec.name, now=NOW)
    assert observed.advice is None and "label some first" in str(observed.why_no_advice)
    assert observed.labels.sentence.startswith("0 of about")


def test_training_reads_the_same_rows_with_the_coins_chance(engine: Engine, spec: CascadeSpec) -> None:
    observed_here = serve(engine, spec, 300)
    with reading(engine) as session:
        window = advise_on(session, spec.name, now=NOW).window
    rows = logged_rows(read_window(engine, spec, window, as_of=NOW))
    assert rows.ran[:, 0].sum() == observed_here and rows.ran[:, 1].all()
    assert (rows.run_propensity[:, 0] == 0.4).all() and rows.early is not None and rows.early[:, 0].all()
