"""Days in files: the reader gives what the tables give, whatever the time it is asked as of."""

import random
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from knowgate._records.records import LabelSource, Window
from store import partitions
from store.days import day_bytes, day_files, day_rows
from store.engine import reading, transaction
from store.traffic.decisions import add_decisions
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.labels import add_labels
from tests.store.conftest import Cast

DAY = timedelta(days=1)


def traffic(engine: Engine, cast: Cast, *, days: int = 3, each: int = 12) -> None:
    """Decisions of some days with labels of several sources that come late, twice, and never."""
    coin = random.Random(7)
    for day in range(days):
        made = []
        for at in range(each):
            make = cast.retained if coin.random() < 0.6 else cast.escalated
            made.append(make(day * 24 * 60 + at * 50, external_id=f"{day}/{at}"))
        with transaction(engine) as session:
            add_decisions(session, made, received_at=cast.at(day * 24 * 60 + each * 50))
        for decision in made:
            for source in LabelSource:
                if coin.random() < 0.5:
                    continue
                for again in range(coin.randrange(1, 3)):
                    at = day * 24 * 60 + 700 + coin.randrange(5000)
                    said = {"source": source, "correct": coin.choice([0.0, 1.0]), "tier": coin.choice([0, 1])}
                    label = cast.label(decision, at + again, label_propensity=coin.choice([None, 0.5]), **said)
                    with transaction(engine) as session:
                        add_labels(session, [label], received_at=cast.at(at + again + coin.randrange(2000)))


def write(engine: Engine, cast: Cast, base: str, window: Window, *, left: bool = False) -> None:
    """The range of a window as one file."""
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    with transaction(engine) as session:
        rows, _ = day_rows.rows_between(session, "geo", low, high)
        written = day_bytes.encoded(rows)
        written.put(base)
        now = cast.at(90 * 24 * 60)
        day_files.put_file(session, "geo", low, high, written, base_url=base, now=now, left_at=now if left else None)


def same(one: Examples, other: Examples) -> None:
    assert one.rows == other.rows
    for item in fields(one):
        np.testing.assert_array_equal(getattr(one, item.name), getattr(other, item.name), err_msg=item.name)


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [tuple(LabelSource), (LabelSource.GOLD, LabelSource.HUMAN)])
def test_a_window_with_days_in_files_is_the_window_in_the_tables(
    geo: Engine, cast: Cast, tmp_path: Path, trusted: tuple[LabelSource, ...]
) -> None:
    traffic(geo, cast)
    window = Window(start=cast.at(100), end=cast.at(3 * 24 * 60))
    times = [cast.at(minutes) for minutes in (200, 650, 3000, 5000, 9000, 10**6)]

    def read() -> list[Examples]:
        with reading(geo) as session:
            return [labelled(session, "geo", window, as_of=at, trusted=trusted) for at in times]

    before = read()
    assert len({examples.rows for examples in before}) > 2
    middle = cast.window(12 * 60, 36 * 60)
    write(geo, cast, str(tmp_path), Window(start=cast.start - DAY, end=middle.start))
    write(geo, cast, str(tmp_path), middle)
    for one, other in zip(before, read(), strict=True):
        same(one, other)
