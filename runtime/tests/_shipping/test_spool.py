"""What the spool took survives the process; what it did not take, it counted."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowgate._shipping import segment
from knowgate._shipping.segment import Entry
from knowgate._shipping.spool import Overflow, Spool
from knowgate.errors import RecordInvalid, SpoolRefused

Make = Callable[..., Any]


def read_all(spool: Spool, *, acknowledge: bool = True) -> list[Entry]:
    read: list[Entry] = []
    while (batch := spool.batch(max_entries=3, max_bytes=10_000)) is not None:
        read.extend(batch.entries)
        if not acknowledge:
            break
        spool.acknowledge(batch, entries=len(batch.entries))
    return read


def ids(entries: list[Entry]) -> list[str]:
    return [str(entry.record().id) for entry in entries]


def test_what_was_appended_comes_back_in_order_with_its_vectors(tmp_path: Path, decision: Make) -> None:
    decisions = [decision(rows=(0,)) for _ in range(8)]
    with Spool(tmp_path) as spool:
        for number, item in enumerate(decisions):
            spool.append(item, [np.full(4, number, np.float16)])
        entries = read_all(spool)
    assert [entry.record() for entry in entries] == decisions
    assert [entry.vectors()[0].tolist() for entry in entries] == [[number] * 4 for number in range(8)]


def test_what_was_acknowledged_leaves_the_disk_with_the_spool(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision())
        read_all(spool)
        assert spool.unshipped_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_acknowledged_is_the_next_ones_and_what_was_is_not(tmp_path: Path, decision: Make) -> None:
    decisions = [decision() for _ in range(5)]
    with Spool(tmp_path) as spool:
        for item in decisions:
            spool.append(item)
        batch = spool.batch(max_entries=2, max_bytes=10_000)
        assert batch is not None
        spool.acknowledge(batch, entries=2)
    with Spool(tmp_path) as spool:
        assert ids(read_all(spool)) == [str(item.id) for item in decisions[2:]]


def test_many_threads_append_in_groups_and_nothing_is_lost(tmp_path: Path, decision: Make) -> None:
    written: list[str] = []

    def write() -> None:
        for _ in range(25):
            item = decision()
            spool.append(item)
            written.append(str(item.id))

    with Spool(tmp_path, segment_bytes=4000, max_bytes=2**20) as spool:
        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(tmp_path.glob("*.segment"))) > 5
        assert sorted(ids(read_all(spool))) == sorted(written)


def test_segments_that_were_shipped_are_deleted_while_the_spool_goes_on(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path, segment_bytes=1000, max_bytes=2**20) as spool:
        for _ in range(20):
            spool.append(decision())
        assert len(list(tmp_path.glob("*.segment"))) > 3
        read_all(spool)
        assert len(list(tmp_path.glob("*.segment"))) <= 1


def test_a_full_spool_refuses_the_newest_and_counts_it_and_takes_more_once_shipped(
    tmp_path: Path, decision: Make
) -> None:
    with Spool(tmp_path, segment_bytes=1000, max_bytes=8000) as spool:
        taken = 0
        with pytest.raises(SpoolRefused, match="of 8000 bytes"):
            while True:
                spool.append(decision())
                taken += 1
        assert taken > 3
        assert spool.refused == 1
        assert sum(path.stat().st_size for path in tmp_path.glob("*.segment")) <= 8000
        assert len(read_all(spool)) == taken
        spool.append(decision())


def test_a_full_spool_that_blocks_waits_for_the_shipper(tmp_path: Path, decision: Make) -> None:
    written: list[str] = []

    def write() -> None:
        for _ in range(40):
            item = decision()
            spool.append(item)
            written.append(str(item.id))

    with Spool(tmp_path, segment_bytes=1000, max_bytes=8000, overflow=Overflow.BLOCK) as spool:
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        shipped: list[str] = []
        for _ in range(2000):  # 40 entries; a spool that gives none ends the loop too
            if not thread.is_alive() and not spool.unshipped_bytes:
                break
            spool.wait_for_unshipped(0.05)
            shipped.extend(ids(read_all(spool)))
        assert not thread.is_alive(), "an append waits though everything is shipped"
        assert shipped == written and len(written) == 40
        assert spool.refused == 0


def test_a_waiting_append_is_refused_when_the_spool_closes(tmp_path: Path, decision: Make) -> None:
    spool = Spool(tmp_path, segment_bytes=1000, max_bytes=8000, overflow=Overflow.BLOCK)
    refused = threading.Event()

    def fill() -> None:
        try:
            while True:
                spool.append(decision())
        except SpoolRefused:
            refused.set()

    thread = threading.Thread(target=fill)
    thread.start()
    while spool.held_bytes < 7000:
        time.sleep(0.001)
    spool.close()
    thread.join()
    assert refused.is_set()


def test_a_closed_spool_takes_nothing(tmp_path: Path, decision: Make) -> None:
    spool = Spool(tmp_path)
    spool.close()
    spool.close()
    with pytest.raises(SpoolRefused, match="closed"):
        spool.append(decision())
    assert spool.refused == 1


def test_an_entry_larger_than_a_batch_is_a_batch_of_its_own(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision(), [np.zeros(30_000, np.float16)])
        spool.append(decision())
        batch = spool.batch(max_entries=10, max_bytes=1000)
        assert batch is not None and len(batch.entries) == 1


def test_a_batch_takes_as_many_entries_as_fit_from_a_segment_that_is_larger(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        for _ in range(40):
            spool.append(decision())
        size = len(segment.framed(decision()))
        for most_entries, most_bytes, expected in ((100, 10 * size, 10), (7, 10 * size, 7), (100, 10**9, 40)):
            batch = spool.batch(max_entries=most_entries, max_bytes=most_bytes)
            assert batch is not None and len(batch.entries) == expected


@pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.BLOCK])
def test_an_entry_above_a_quarter_of_the_spool_is_refused_and_one_below_is_taken(
    tmp_path: Path, decision: Make, overflow: Overflow
) -> None:
    frame = len(segment.framed(decision(), [np.zeros(5000, np.float16)]))
    with Spool(tmp_path / "small", segment_bytes=100, max_bytes=4 * frame - 4, overflow=overflow) as spool:
        with pytest.raises(SpoolRefused, match="above a quarter"):
            spool.append(decision(), [np.zeros(5000, np.float16)])
        assert (spool.refused, spool.held_bytes) == (1, 0)
    with Spool(tmp_path / "large", segment_bytes=100, max_bytes=4 * frame, overflow=overflow) as spool:
        spool.append(decision(), [np.zeros(5000, np.float16)])
        assert len(read_all(spool)) == 1


@pytest.mark.parametrize("place", ["magic", "length", "crc", "header", "vectors"])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_one_flipped_bit_in_a_dead_processs_segment_costs_one_entry_and_a_copy_is_kept(
    tmp_path: Path, decision: Make, place: str, victim: int
) -> None:
    frames = [segment.framed(decision(external_id=str(n), rows=(0,)), [np.ones(4, np.float16)]) for n in range(3)]
    content = bytearray(segment.MAGIC + b"".join(frames))
    start = len(segment.MAGIC) + sum(map(len, frames[:victim]))
    at = {
        "magic": 2,
        "length": start + 2,
        "crc": start + 5,
        "header": start + 40,
        "vectors": start + len(frames[victim]) - 1,
    }
    content[at[place]] ^= 0x04
    (tmp_path / "123-abc.000000.segment").write_bytes(content)
    with Spool(tmp_path) as spool:
        left = [entry.record().external_id for entry in read_all(spool)]
        assert left == [str(n) for n in range(3) if place == "magic" or n != victim]
        assert spool.damaged_bytes == (len(segment.MAGIC) if place == "magic" else len(frames[victim]))
        assert spool.torn_bytes == 0
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [bytes(content)]


@pytest.mark.parametrize("offset", ["999999", "-3", "99", "2147483648 00000000", "\xff"])
def test_an_offset_that_does_not_fit_ships_again_and_loses_nothing(tmp_path: Path, decision: Make, offset: str) -> None:
    frames = [segment.framed(decision(external_id=str(number))) for number in range(3)]
    (tmp_path / "123-abc.000000.segment").write_bytes(segment.MAGIC + b"".join(frames))
    (tmp_path / "123-abc.000000.offset").write_bytes(offset.encode("latin-1"))
    with Spool(tmp_path) as spool:
        assert [entry.record().external_id for entry in read_all(spool)] == ["0", "1", "2"]


def test_what_lies_behind_damage_in_a_living_segment_is_shipped_and_nothing_new_is_lost(
    tmp_path: Path, decision: Make
) -> None:
    decisions = [decision() for _ in range(6)]
    with Spool(tmp_path) as spool:
        for item in decisions[:4]:
            spool.append(item)
        (path,) = tmp_path.glob("*.segment")
        content = bytearray(path.read_bytes())
        content[len(segment.MAGIC) + 40] ^= 0xFF
        path.write_bytes(content)
        assert ids(read_all(spool)) == [str(item.id) for item in decisions[1:4]]
        for item in decisions[4:]:
            spool.append(item)
        assert ids(read_all(spool)) == [str(item.id) for item in decisions[4:]]
        assert spool.unshipped_bytes == 0 and spool.damaged_bytes > 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".corrupt"]


def test_not_waiting_for_the_disk_still_writes_by_the_time_of_flush(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path, durable=False) as spool:
        for _ in range(10):
            spool.append(decision())
        spool.flush()
        assert len(read_all(spool)) == 10


def test_a_disk_that_fails_refuses_the_entry_and_the_next_one_gets_a_new_segment(
    tmp_path: Path, decision: Make
) -> None:
    with Spool(tmp_path / "spool", segment_bytes=200, max_bytes=10**6) as spool:
        spool.append(decision())  # which ends its segment
        (tmp_path / "spool").rename(tmp_path / "gone")
        with pytest.raises(SpoolRefused, match="did not reach the disk"):
            spool.append(decision())
        assert spool.refused == 1
        (tmp_path / "gone").rename(tmp_path / "spool")
        spool.append(decision())
        assert len(read_all(spool)) == 2


def test_two_spools_of_one_folder_keep_off_each_others_segments(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as first, Spool(tmp_path) as second:
        first.append(decision())
        second.append(decision())
        assert (first.adopt(), second.adopt()) == (0, 0)
        assert (len(read_all(first)), len(read_all(second))) == (1, 1)


def test_bytes_that_the_disk_lost_are_set_aside_and_the_rest_goes_on(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision())
        (path,) = tmp_path.glob("*.segment")
        content = bytearray(path.read_bytes())
        content[40] ^= 0xFF
        path.write_bytes(content)
        assert spool.batch(max_entries=1, max_bytes=10_000) is None
        assert len(list(tmp_path.glob("*.corrupt"))) == 1
        last = decision()
        spool.append(last)
        assert ids(read_all(spool)) == [str(last.id)]


def test_a_segment_that_is_old_ends_and_leaves_the_disk_once_it_is_shipped(tmp_path: Path, decision: Make) -> None:
    def left() -> list[Path]:
        return list(tmp_path.glob("*.segment"))

    def wait_until(number: int) -> None:
        deadline = time.monotonic() + 30
        while len(left()) != number and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(left()) == number

    with Spool(tmp_path, segment_seconds=0.2) as spool:
        first, second = decision(), decision()
        spool.append(first)
        assert ids(read_all(spool)) == [str(first.id)]
        wait_until(0)
        spool.append(second)
        time.sleep(0.4)  # its segment has ended, and stays until the service has it
        assert len(left()) == 1
        assert ids(read_all(spool)) == [str(second.id)]
        assert left() == []
    with pytest.raises(RecordInvalid, match="segment_seconds"):
        Spool(tmp_path, segment_seconds=0)


@pytest.mark.parametrize("seconds", [float("inf"), 1e12])
def test_a_segment_that_never_gets_old_takes_decisions_all_the_same(
    tmp_path: Path, decision: Make, seconds: float
) -> None:
    with Spool(tmp_path, segment_seconds=seconds) as spool:
        for _ in range(3):
            spool.append(decision())
        assert len(read_all(spool)) == 3


def test_a_disk_that_is_full_has_room_again_once_the_service_has_everything(
    tmp_path: Path, decision: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)  # acknowledgements are written so
    with Spool(tmp_path, segment_bytes=1000, max_bytes=2**20) as spool:
        for _ in range(20):
            spool.append(decision())
        assert len(read_all(spool)) == 20
        assert len(list(tmp_path.glob("*.segment"))) <= 1
        spool.append(decision())
        assert len(read_all(spool)) == 1


def test_a_writer_that_dies_lets_nobody_wait(tmp_path: Path, decision: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Spool(tmp_path) as spool:
        monkeypatch.setattr(os, "write", broken)
        for _ in range(2):
            with pytest.raises(SpoolRefused, match="did not reach the disk"):
                spool.append(decision())


def test_a_spool_is_read_by_its_owner_alone(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision())
        (segment_file,) = tmp_path.glob("*.segment")
        assert segment_file.stat().st_mode & 0o777 == 0o600


def test_a_segment_size_that_could_fill_the_spool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordInvalid, match="segment_bytes"):
        Spool(tmp_path, max_bytes=1000, segment_bytes=500)


CHILD = """
import sys
from datetime import datetime, UTC
import numpy as np
from knowgate import Attempt, Decision, Role, new_id
from knowgate._shipping.spool import Spool
import threading

spool = Spool(sys.argv[1], segment_bytes=20_000, max_bytes=10**8)

def write():
    while True:
        attempt = Attempt(tier=0, role=Role.SERVED, model="m", vector=0)
        decision = Decision(
            id=new_id(), cascade="questions", occurred_at=datetime.now(UTC), attempts=(attempt,)
        )
        spool.append(decision, [np.ones(64, np.float16)])
        sys.stdout.write(f"{decision.id}\\n")
        sys.stdout.flush()

for _ in range(4):
    threading.Thread(target=write).start()
"""


@pytest.mark.parametrize("lines", [1, 40, 150, 400])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path, lines: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(lines)]
    with Spool(tmp_path) as living:
        assert living.adopt() == 0  # its owner is alive
        child.send_signal(signal.SIGKILL)
        child.wait()
        acknowledged += [line for line in child.stdout.read().split("\n") if len(line) == 36]
        child.stdout.close()
        assert living.adopt() >= 1
        recovered = ids(read_all(living))
    assert set(acknowledged) <= set(recovered)
    assert len(recovered) == len(set(recovered))
    assert list(tmp_path.iterdir()) == []


def test_a_torn_tail_is_cut_and_the_whole_entries_are_adopted(tmp_path: Path, decision: Make) -> None:
    whole, torn = segment.framed(decision()), segment.framed(decision())
    (tmp_path / "123-abc.000000.segment").write_bytes(segment.MAGIC + whole + torn[:-5])
    with Spool(tmp_path) as spool:
        assert spool.torn_bytes == len(torn) - 5
        assert len(read_all(spool)) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_adopted_segment_is_shipped_from_where_its_owner_stopped(tmp_path: Path, decision: Make) -> None:
    frames = [segment.framed(decision(external_id=str(number))) for number in range(3)]
    path = tmp_path / "123-abc.000000.segment"
    path.write_bytes(segment.MAGIC + b"".join(frames))
    segment.write_offset(path, len(segment.MAGIC) + len(frames[0]))
    with Spool(tmp_path) as spool:
        assert [entry.record().external_id for entry in read_all(spool)] == ["1", "2"]


def test_a_forked_child_cannot_append_to_its_parents_segment(tmp_path: Path, decision: Make) -> None:
    code = textwrap.dedent("""
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from datetime import datetime, UTC
        from knowgate import Attempt, Decision, Role, SpoolRefused, new_id
        from knowgate._shipping.spool import Spool
        spool = Spool(sys.argv[1])
        attempt = Attempt(tier=0, role=Role.SERVED, model="m")
        decision = Decision(id=new_id(), cascade="c", occurred_at=datetime.now(UTC), attempts=(attempt,))
        child = os.fork()
        if child == 0:
            try:
                spool.append(decision)
            except SpoolRefused as error:
                os._exit(7 if "after the fork" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        spool.append(decision)
        """)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with Spool(tmp_path) as spool:
        assert len(read_all(spool)) == 1


def test_a_process_that_forgets_to_close_still_writes_what_it_was_given(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from datetime import datetime, UTC
        from knowgate import Attempt, Decision, Role, new_id
        from knowgate._shipping.spool import Spool
        spool = Spool(sys.argv[1], durable=False)
        for _ in range(200):
            attempt = Attempt(tier=0, role=Role.SERVED, model="m")
            spool.append(
                Decision(id=new_id(), cascade="c", occurred_at=datetime.now(UTC), attempts=(attempt,))
            )
        """)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with Spool(tmp_path) as spool:
        assert len(read_all(spool)) == 200


def test_the_copy_of_a_damaged_segment_is_kept_for_a_time_and_no_longer(tmp_path: Path, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision())
    (path,) = tmp_path.glob("*.segment")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, (0, 0))  # its process died long ago; a person has had no time to look at the copy all the same
    with Spool(tmp_path, aside_seconds=60.0) as spool:
        assert spool.damaged_bytes > 0
        spool.adopt()
        (aside,) = tmp_path.glob("*.corrupt")
        os.utime(aside, (time.time() - 61, time.time() - 61))
        spool.adopt()
        assert list(tmp_path.glob("*.corrupt")) == []
    with pytest.raises(RecordInvalid, match="aside_seconds"):
        Spool(tmp_path, aside_seconds=0)


def test_what_was_set_aside_is_kept_for_thirty_days_unless_another_time_is_given(tmp_path: Path) -> None:
    days = 30 * 86_400
    for name, age in (("young", days - 60), ("old", days + 15)):
        path = tmp_path / f"{name}.corrupt"
        path.write_bytes(b"")
        os.utime(path, (time.time() - age, time.time() - age))
    with Spool(tmp_path):
        assert [path.name for path in tmp_path.glob("*.corrupt")] == ["young.corrupt"]


def test_a_spool_that_is_given_no_bounds_has_those_of_its_page(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert (spool.max_bytes, spool.segment_bytes, spool.segment_seconds) == (2**30, 16 * 2**20, 600.0)
        assert (spool.durable, spool.overflow) == (True, Overflow.DROP_NEWEST)
    with Spool(tmp_path / "quarter", max_bytes=400, segment_bytes=100) as spool:
        assert spool.segment_bytes == 100
    for segment_bytes in (0, 101):
        with pytest.raises(
            RecordInvalid, match=f"segment_bytes is {segment_bytes}: at most a quarter of max_bytes, 100"
        ):
            Spool(tmp_path / "more", max_bytes=400, segment_bytes=segment_bytes)
