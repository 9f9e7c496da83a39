"""A tier is learned from vectors that are read in blocks: never all at once, and with the same
result.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from factories import make_fingerprint
from store.shards.shards import RowReader, write_shard
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ArrayBlocks, ShardBlocks
from training.rows.splits import Part, Split
from training.tiers.learn import learn_tier, signal_columns, spread_out

N, D, NAN = 9_500, 6, float("nan")
PARTS = np.array([str(part) for part in (Part.FIT, Part.VALIDATION, Part.CALIBRATION, Part.CERTIFICATION)])
FINGERPRINT = make_fingerprint(revision="1", layer=3)
SETTINGS = FitSettings(penalties=(0.01, 0.1), mlp_penalties=(), block_mb=1)


class Watched:
    """Rows that remember the most that was asked of them at once."""

    def __init__(self, rows: Any, log: list[int]) -> None:
        self._rows, self._log = rows, log
        self.shape = rows.shape

    def take(self, rows: npt.NDArray[np.int64]) -> "Watched":
        return Watched(self._rows.take(rows), self._log)

    def read(self, start: int, stop: int, layer: int) -> npt.NDArray[Any]:
        self._log.append(stop - start)
        return self._rows.read(start, stop, layer)  # type: ignore[no-any-return]


def window() -> tuple[CascadeRows, Split, npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    draw = np.random.default_rng(3)
    hidden = draw.normal(size=(N, D)).astype(np.float16)
    correct = (hidden[:, 0] + draw.normal(size=N) > 0).astype(float)
    present = draw.random(N) < 0.95
    tier = TierColumns(
        ran=np.ones(N, dtype=bool),
        p_t=draw.random(N),
        correct=correct,
        run_propensity=np.ones(N),
        label_propensity=np.ones(N),
        tokens_in=draw.integers(5, 50, N).astype(float),
    )
    rows = CascadeRows(
        ids=tuple(f"id{row}" for row in range(N)),
        seconds=np.arange(N, dtype=float),
        slices=(None,) * N,
        prompts=(None,) * N,
        prompt_hashes=(None,) * N,
        exploration_rate=np.zeros(N),
        tiers=(tier, tier),
        fingerprints={},
    )
    return rows, Split(parts=PARTS[np.arange(N) % 4], prompts={}), hidden, present


def vectors_of(rows: Any, present: npt.NDArray[np.bool_]) -> TierVectors:
    return TierVectors(fingerprints=(FINGERPRINT,), present=present, rows=rows)


def test_a_tier_learned_from_shards_in_blocks_is_the_one_learned_from_memory(tmp_path: Any) -> None:
    rows, split, hidden, present = window()
    rows_there = hidden[present]
    cut = len(rows_there) // 2
    shards = [
        write_shard(tmp_path.as_uri(), part, [f"{at}/{row}" for row in range(len(part))])
        for at, part in enumerate((rows_there[:cut], rows_there[cut:]))
    ]
    reader = RowReader(
        [shard.url for shard in shards for _ in shard.row_sha256],
        [row for shard in shards for row in range(len(shard.row_sha256))],
        sha256=[value for shard in shards for value in shard.row_sha256],
    )
    asked: list[int] = []
    streamed = vectors_of(Watched(ShardBlocks(readers=(reader,)), asked), present)
    in_memory = vectors_of(ArrayBlocks(x=rows_there[:, None].astype(np.float32)), present)
    learned = [learn_tier(rows, split, 0, one, SETTINGS) for one in (streamed, in_memory)]
    assert learned[0] is not None and learned[1] is not None
    assert learned[0].rows == learned[1].rows and learned[0].fitted.chosen.auroc == learned[1].fitted.chosen.auroc
    for one, source in zip(learned, (streamed, in_memory), strict=True):
        assert one is not None
        shown = signal_columns(rows, 0, one.models, source)
        assert (np.isnan(shown["p_ik"]) == ~present).all()
        if source is streamed:
            expected = shown
    for name, values in signal_columns(rows, 0, learned[1].models, in_memory).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)
    assert max(asked) <= 4096 < present.sum()


def test_rows_beyond_what_a_reference_needs_are_taken_at_equal_distances() -> None:
    chosen = np.arange(100) % 2 == 0
    assert spread_out(chosen, 50) is chosen
    few = np.flatnonzero(spread_out(chosen, 5))
    assert len(few) == 5 and few[0] == 0 and few[-1] == 98 and set(few) <= set(np.flatnonzero(chosen))


def test_a_window_without_vectors_has_p_t_alone() -> None:
    rows, _, _, _ = window()
    shown = signal_columns(rows, 0, None, None)
    assert (shown["p_t"] == rows.tiers[0].p_t).all() and np.isnan(shown["p_ik"]).all()
