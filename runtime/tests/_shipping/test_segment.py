"""A segment gives back what was written, and after a crash exactly its whole entries."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_decision
from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Fingerprint,
    GateOutcome,
    Reason,
    Role,
    Signals,
    Verdict,
)
from knowgate._shipping import parcels, segment
from knowgate._shipping.recovery import recover
from knowgate.errors import RecordInvalid

Make = Callable[..., Any]

units = st.floats(0, 1)
amounts = st.floats(0, 1e9)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
times = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)
signals = st.builds(
    Signals, p_t=st.none() | units, p_ik=st.none() | units, score=st.none() | units, ood=st.none() | units
)
gates = st.builds(
    GateOutcome,
    gate=st.sampled_from([Reason.P_IK, Reason.P_T]),
    value=st.none() | units,
    threshold=units,
    passed=st.booleans(),
)
verdicts = st.builds(
    Verdict,
    action=st.sampled_from([Action.RETAIN, Action.ESCALATE]),
    reason=st.none() | st.sampled_from(Reason),
    gates=st.lists(gates, max_size=3).map(tuple),
    fallback=st.booleans(),
)
fingerprints = st.builds(
    Fingerprint,
    model=texts,
    revision=texts,
    dtype=texts,
    engine=texts,
    engine_version=texts,
    chat_template_sha256=texts,
    layer=st.integers(0, 100),
    position=texts,
    normed=st.booleans(),
)
FAULTS = [reason for reason in Reason if reason is not Reason.UNCERTIFIED_REQUEST]  # that one has no verdict
vector_lists = st.lists(
    st.lists(st.floats(width=16, allow_nan=False), min_size=1, max_size=5).map(lambda row: np.array(row, np.float16)),
    max_size=3,
)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    tiers = draw(st.integers(1, 3))
    attempts = tuple(
        Attempt(
            tier=tier,
            role=Role.SERVED if tier == tiers - 1 else Role.SUPERSEDED,
            model=draw(texts),
            signals=draw(signals),
            verdict=draw(st.none() | verdicts),
            fingerprint=draw(st.none() | fingerprints),
            fault=draw(st.none() | st.sampled_from(FAULTS)),
            entropy=draw(st.none() | amounts),
            answer=draw(st.none() | texts),
            run_propensity=draw(st.none() | st.floats(1e-6, 1)),
            tokens_in=draw(st.none() | st.integers(0, 10**9)),
            latency_ms=draw(st.none() | amounts),
            cost_usd=draw(st.none() | amounts),
            vector=draw(st.none() | st.integers(0, 2)),
        )
        for tier in range(tiers)
    )
    return make_decision(
        draw(times),
        cascade=draw(texts.filter(bool)),
        attempts=attempts,
        external_id=draw(st.none() | texts),
        slice=draw(st.none() | texts),
        prompt=draw(st.none() | texts),
        generation=draw(st.none() | st.integers(0, 10**6)),
        exploration_rate=draw(units),
    )


@given(decisions(), vector_lists)
def test_an_entry_gives_back_the_decision_and_its_vectors(decision: Decision, vectors: list[Any]) -> None:
    frame = segment.framed(decision, vectors)
    (entry,) = segment.entries(frame, 8)
    assert entry.record() == decision
    assert entry.end == 8 + len(frame)
    assert [vector.tobytes() for vector in entry.vectors()] == [vector.tobytes() for vector in vectors]


def three_entries(decision: Make) -> tuple[bytes, list[int]]:
    """A segment's bytes, and where its entries end."""
    frames = [segment.framed(decision(rows=(0,)), [np.ones(4, np.float16)]) for _ in range(3)]
    ends = [len(segment.MAGIC) + sum(map(len, frames[: count + 1])) for count in range(3)]
    return segment.MAGIC + b"".join(frames), ends


def test_content_cut_at_any_byte_gives_exactly_its_whole_entries(decision: Make) -> None:
    content, ends = three_entries(decision)
    start = len(segment.MAGIC)
    for length in range(start, len(content) + 1):
        whole = [entry.end for entry in segment.entries(content[start:length], start)]
        assert whole == [end for end in ends if end <= length]


def test_a_torn_file_is_cut_behind_its_last_whole_entry(tmp_path: Path, decision: Make) -> None:
    content, ends = three_entries(decision)
    start = len(segment.MAGIC)
    path = tmp_path / "one.segment"
    edges = [0, start, *ends]
    for length in sorted({max(0, edge + step) for edge in edges for step in (-1, 0, 1, 9)} - {len(content) + 1}):
        path.write_bytes(content[:length])
        recovered = recover(path)
        kept = path.read_bytes()
        assert kept == content[: max(edge for edge in edges if edge <= length)]
        assert (recovered.torn, recovered.damaged) == (min(length, len(content)) - len(kept), 0)
        assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_anywhere_in_the_last_entry_costs_that_entry_only(decision: Make) -> None:
    first, second = segment.framed(decision()), segment.framed(decision(), [np.ones(2, np.float16)])
    for position in range(len(second)):
        spoilt = bytearray(first + second)
        spoilt[len(first) + position] ^= 0x10
        assert [entry.end for entry in segment.entries(bytes(spoilt), 0)] == [len(first)]


def test_zeros_behind_the_last_entry_are_no_entry(decision: Make) -> None:
    frame = segment.framed(decision())
    assert [entry.end for entry in segment.entries(frame + bytes(64), 0)] == [len(frame)]


def test_a_file_that_is_no_segment_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.segment"
    path.write_bytes(b"something else altogether")
    assert recover(path).damaged == 25
    assert path.read_bytes() == b""
    assert path.with_suffix(".corrupt").read_bytes() == b"something else altogether"


def test_an_offset_survives_and_a_spoilt_one_counts_from_the_start(tmp_path: Path, decision: Make) -> None:
    content, ends = three_entries(decision)
    path, start = tmp_path / "one.segment", len(segment.MAGIC)
    path.write_bytes(content)
    assert recover(path).shipped == start
    segment.write_offset(path, ends[1])
    written = (tmp_path / "one.offset").read_text()
    assert recover(path).shipped == ends[1]
    # One flipped bit makes another number of it, within the file or beyond its end.
    flips = [
        written[:at] + chr(ord(written[at]) ^ 1 << bit) + written[at + 1 :]
        for at in range(len(written))
        for bit in range(7)
    ]
    for spoilt in ["12x", "", str(ends[1] + 1), str(len(content) + 1), *flips]:
        (tmp_path / "one.offset").write_text(spoilt)
        assert recover(path).shipped in (start, ends[1] if spoilt.startswith(f"{ends[1]} ") else start), spoilt
    (tmp_path / "one.offset").write_text(str(len(content) + 1))
    assert recover(path).shipped == start
    assert not (tmp_path / "one.offset").exists(), "what cannot be is not read twice"
    (tmp_path / "one.offset").write_text(str(ends[0]))  # as it was written before it had a check
    assert recover(path).shipped == ends[0]


def test_one_flipped_bit_costs_the_entry_it_is_in_and_no_other(tmp_path: Path, decision: Make) -> None:
    content, ends = three_entries(decision)
    start = len(segment.MAGIC)
    edges = [0, start, *ends]
    heads = {edge + step for edge in edges[:-1] for step in range(13)}
    for at in sorted(heads | {*range(0, len(content), 11)}):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        path = folder / "one.segment"
        spoilt = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        path.write_bytes(spoilt)
        segment.write_offset(path, ends[0])
        recovered = recover(path)
        hit = next(index for index, end in enumerate(edges[1:]) if at < end)
        kept = [content[one:other] for one, other in pairwise(edges[1:])]
        if hit:
            kept.pop(hit - 1)
        assert path.read_bytes() == segment.MAGIC + b"".join(kept), at
        assert (recovered.torn, recovered.damaged) == (0, edges[hit + 1] - edges[hit]), at
        assert recovered.shipped == start + (0 if hit == 1 else ends[0] - start), at
        assert (folder / "one.offset").exists() == (hit != 1), "an offset is one of the file as it was"
        assert path.with_suffix(".corrupt").read_bytes() == spoilt


def test_a_damaged_segment_that_is_recovered_twice_keeps_both_copies(tmp_path: Path, decision: Make) -> None:
    content, _ = three_entries(decision)
    path = tmp_path / "one.segment"
    for _ in range(2):
        path.write_bytes(content[:-1] + b"?" + content[len(segment.MAGIC) :])
        assert recover(path).damaged
    assert len(list(tmp_path.glob("*.corrupt"))) == 2


def test_an_entry_of_another_version_is_refused_by_name(decision: Make) -> None:
    import json
    import zlib

    header = json.dumps({"decision": {}, "vectors": [], "new": 1}).encode()
    payload = segment.LENGTH.pack(len(header)) + header
    crc = zlib.crc32(payload, zlib.crc32(segment.LENGTH.pack(len(payload))))
    (entry,) = segment.entries(segment.FRAME.pack(len(payload), crc) + payload, 0)
    with pytest.raises(RecordInvalid, match="another version"):
        entry.record()


def test_signals_come_back_bit_for_bit(decision: Make) -> None:
    (entry,) = segment.entries(segment.framed(decision(exploration_rate=math.nextafter(0.1, 1))), 0)
    assert entry.record().exploration_rate == math.nextafter(0.1, 1)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0\0", b"\2\0\0\0[]", b"\xff\xff\xff\xff{}", b'\x1d\0\0\0{"decision":{},"vectors":"1"}', b"\1\0\0\0["],
)
def test_an_entry_whose_checksum_is_right_and_that_holds_none_is_set_aside(payload: bytes) -> None:
    entry = segment.Entry(payload=payload, end=len(payload))
    opened = parcels.opened(entry)
    assert isinstance(opened, parcels.Refusal)
    assert "this version cannot read the entry" in opened.reason
    assert "payload_base64" in parcels.readable(entry)
