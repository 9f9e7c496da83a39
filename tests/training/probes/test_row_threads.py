"""Threads that share rows: every piece is taken once, sums come in one order, torch is left as it
was.
"""

import threading
from collections.abc import Iterator, Sequence

import pytest
import torch

from training.errors import TrainingRefused
from training.probes.probe_passes import RowBlock
from training.probes.row_threads import RowThreads, Sums


@pytest.fixture
def three() -> Iterator[RowThreads]:
    before = torch.get_num_threads()
    threads = RowThreads(3)
    yield threads
    threads.close()
    torch.set_num_threads(before)


def pieces(count: int) -> list[RowBlock]:
    return [RowBlock(0, at, torch.full((1, 2), float(at)), torch.ones(1), torch.ones(1)) for at in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_every_piece_is_taken_once(three: RowThreads, count: int) -> None:
    seen: list[int] = []

    def of(share: Sequence[RowBlock]) -> Sums:
        seen.extend(piece.start for piece in share)
        return torch.cat([piece.x for piece in share]).sum(0), torch.tensor(len(share))

    total, taken = three.sums(pieces(count), of)
    assert sorted(seen) == list(range(count))
    assert total.tolist() == [count * (count - 1) / 2] * 2 and int(taken) == count


def test_pieces_are_dealt_by_their_numbers_to_threads_of_one_core(three: RowThreads) -> None:
    dealt: dict[str, set[tuple[int, ...]]] = {}
    cores: set[int] = set()
    all_here = threading.Barrier(3)

    def of(share: Sequence[RowBlock]) -> Sums:
        all_here.wait(timeout=30)
        dealt.setdefault(threading.current_thread().name, set()).add(tuple(piece.start for piece in share))
        cores.add(torch.get_num_threads())
        return (torch.zeros(1),)

    three.sums(pieces(7), of)
    assert set().union(*dealt.values()) == {(0, 3, 6), (1, 4), (2, 5)}
    assert len(dealt) == 3 and cores == {1}


def test_the_number_of_torchs_threads_is_left_as_it_was(three: RowThreads) -> None:
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == 3 and later == [3]


def test_what_one_thread_refuses_is_refused(three: RowThreads) -> None:
    def of(share: Sequence[RowBlock]) -> Sums:
        if any(piece.start == 4 for piece in share):
            raise TrainingRefused("row 4")
        return (torch.zeros(1),)

    with pytest.raises(TrainingRefused, match="row 4"):
        three.sums(pieces(6), of)


def test_one_thread_works_in_the_callers_own() -> None:
    where: list[str] = []

    def of(share: Sequence[RowBlock]) -> Sums:
        where.append(threading.current_thread().name)
        return (torch.tensor(float(len(share))),)

    assert float(RowThreads(1).sums(pieces(5), of)[0]) == 5.0
    assert where == [threading.current_thread().name]
