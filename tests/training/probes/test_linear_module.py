"""The linear probes of a tier: they are the optimum, however the rows come and whoever shares the
work.
"""

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe
from store.shards.shards import RowReader, write_shard
from training.errors import TrainingRefused
from training.probes.block_pieces import CACHE_VALUES
from training.probes.data_module import FIRST_ROWS, LinearRowsModule
from training.probes.fit import FittedLinear, fit_linear, fit_probe
from training.probes.probe_settings import FitSettings
from training.probes.trainer import TrainerSettings
from training.rows.row_blocks import ArrayBlocks, MappedBlocks, ShardBlocks, StreamedRows

LINEAR = FitSettings(penalties=(0.003, 0.05, 1.0), mlp_penalties=(), tolerance=1e-5)


def states(n: int, *, layers: int = 3, d: int = 24, seed: int = 0) -> tuple[npt.NDArray[np.float16], Any, Any]:
    """Correlated features of uneven scales far from 0, soft and hard labels, uneven weights."""
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(layers, d, d)) / np.arange(1, d + 1)[:, None]
    latent = draw.normal(size=(n, layers, d))
    x = np.einsum("nld,lde->nle", latent, mixing, optimize=True) * np.linspace(0.1, 3.0, d) + np.linspace(-8.0, 8.0, d)
    p = 1 / (1 + np.exp(-1.5 * latent[:, 1, 0] - latent[:, 1, 3]))
    y = np.where(draw.random(n) < 0.5, p, draw.random(n) < p).astype(np.float64)
    return x.astype(np.float16), y, draw.uniform(0.5, 4.0, n)


def streamed(n: int = 400, **changes: Any) -> StreamedRows:
    x, y, weight = states(n, **changes)
    return StreamedRows(x=ArrayBlocks(x=x), y=y, weight=weight)


def gradients(fitted: FittedLinear, rows: StreamedRows, penalties: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """The largest component of every problem's gradient, by the definition and in float64: [layers,
    penalties].
    """
    share = rows.weight / rows.weight.sum()
    largest = np.empty((rows.shape[1], len(penalties)))
    for layer, at in itertools.product(range(rows.shape[1]), range(len(penalties))):
        x = rows.x.read(0, rows.shape[0], layer).astype(np.float64)
        x = (x - fitted.mean[layer]) / fitted.scale[layer]
        weight = fitted.weight[layer, at].astype(np.float64)
        residual = share * (1 / (1 + np.exp(-(x @ weight + fitted.bias[layer, at]))) - rows.y)
        largest[layer, at] = max(np.abs(residual @ x + penalties[at] * weight).max(), abs(residual.sum()))
    return largest


def assert_same(one: FittedLinear, other: FittedLinear, atol: float = 2e-3) -> None:
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-4)
    np.testing.assert_allclose(one.logits, other.logits, atol=atol)


def test_every_problem_is_descended_to_its_optimum() -> None:
    rows = streamed()
    fitted = fit_linear(rows, streamed(seed=1), LINEAR)
    assert all(one.converged for one in fitted.figures)
    assert gradients(fitted, rows, LINEAR.penalties).max() < 2 * LINEAR.tolerance
    x = rows.x.read(0, 400, 0).astype(np.float64)
    np.testing.assert_allclose(fitted.mean[0], np.average(x, axis=0, weights=rows.weight), rtol=1e-5)


@pytest.mark.parametrize("n", [FIRST_ROWS - 1, FIRST_ROWS + 1])
def test_a_layer_is_centred_by_its_first_rows(n: int) -> None:
    rows = streamed(n)
    first = LinearRowsModule(rows, streamed(5), LINEAR).first_rows(2)
    np.testing.assert_array_equal(first.numpy(), rows.x.read(0, min(n, FIRST_ROWS), 2).astype(np.float32))


def test_more_dimensions_than_rows_are_no_obstacle() -> None:
    rows = streamed(40, layers=2, d=90)
    fitted = fit_linear(rows, streamed(30, layers=2, d=90, seed=1), LINEAR)
    assert gradients(fitted, rows, LINEAR.penalties).max() < 2 * LINEAR.tolerance


def test_a_curvature_of_few_directions_only_takes_longer() -> None:
    rows, validation = streamed(), streamed(seed=1)
    known = fit_linear(rows, validation, LINEAR)
    poor = FitSettings(penalties=LINEAR.penalties, mlp_penalties=(), tolerance=1e-5, rank=1, sample=300)
    assert_same(known, fit_linear(rows, validation, poor))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"memory_mb": 1}, {"block_mb": 1}, {"look_every": 1}])
def test_groups_blocks_and_looks_change_nothing(changes: dict[str, int]) -> None:
    rows, validation = streamed(d=700, layers=2, n=300), streamed(d=700, layers=2, n=100, seed=1)
    whole = fit_linear(rows, validation, LINEAR)
    parted = FitSettings(penalties=LINEAR.penalties, mlp_penalties=(), tolerance=1e-5, **changes)
    assert_same(whole, fit_linear(rows, validation, parted))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_threads_that_share_the_rows_find_what_one_finds(precision: str) -> None:
    wide = 4096
    piece = CACHE_VALUES // wide
    rows, validation = streamed(d=wide, layers=2, n=2 * piece + 9), streamed(d=wide, layers=2, n=100, seed=1)
    settings = replace(LINEAR, trainer=TrainerSettings(precision=precision))
    alone = fit_linear(rows, validation, settings)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        shared, again = fit_linear(rows, validation, settings), fit_linear(rows, validation, settings)
    finally:
        torch.set_num_threads(before)
    # Half precision rounds what each thread sums to eight bits.
    assert_same(shared, alone, atol=2e-3 if precision == "32-true" else 5e-3)
    assert gradients(shared, rows, LINEAR.penalties).max() <= 1.5e-5
    assert (shared.weight == again.weight).all() and (shared.logits == again.logits).all()


def test_mapped_files_and_shards_give_the_probe_of_the_rows_in_memory(tmp_path: Path) -> None:
    x, y, weight = states(150)
    validation = streamed(80, seed=1)
    by_stream = fit_linear(StreamedRows(x=ArrayBlocks(x=x), y=y, weight=weight), validation, LINEAR)
    np.save(tmp_path / "rows.npy", np.concatenate([x[:7], x]).transpose(1, 0, 2))
    mapped = MappedBlocks(path=tmp_path / "rows.npy", layer_first=True, first=7)
    one = MappedBlocks(path=tmp_path / "rows.npy", layer_first=True, first=7, layers=(2,))
    assert one.shape == (150, 1, 24) and (one.read(3, 5, 0) == x[3:5, 2]).all()
    readers = []
    for layer in range(3):
        urls = [write_shard(tmp_path.as_uri(), x[at::2, layer], [f"{at}/{row}" for row in range(75)]) for at in (0, 1)]
        readers.append(RowReader([urls[row % 2].url for row in range(150)], [row // 2 for row in range(150)]))
    shards = ShardBlocks(readers=tuple(readers))
    doubled = np.repeat(np.arange(150), 2)
    for blocks in (mapped, shards, shards.take(doubled).take(np.arange(0, 300, 2))):
        again = pickle.loads(pickle.dumps(blocks))
        assert_same(by_stream, fit_linear(StreamedRows(x=again, y=y, weight=weight), validation, LINEAR), atol=0.0)


def test_half_precision_ends_at_the_same_probe() -> None:
    rows, validation = streamed(), streamed(seed=1)
    mixed = FitSettings(
        penalties=LINEAR.penalties,
        mlp_penalties=(),
        tolerance=1e-5,
        trainer=TrainerSettings(precision="bf16-mixed"),
    )
    assert_same(fit_linear(rows, validation, LINEAR), fit_linear(rows, validation, mixed))


def test_each_layer_that_a_former_probe_has_starts_from_it() -> None:
    rows, validation = streamed(), streamed(seed=1)
    one = FitSettings(penalties=(0.05,), mlp_penalties=())
    cold = fit_linear(rows, validation, one)
    former = {
        layer: (
            Standardiser(mean=cold.mean[layer], scale=cold.scale[layer]),
            LinearProbe(weight=cold.weight[layer, 0], bias=float(cold.bias[layer, 0])),
        )
        for layer in (0, 2)
    }
    warm = fit_linear(rows, validation, one, warm_start=former)
    assert warm.passes[0] == warm.passes[2] == 1 < warm.passes[1] == cold.passes[1]
    assert_same(cold, warm)
    with pytest.raises(TrainingRefused, match="layer 3"):
        fit_linear(rows, validation, one, warm_start={3: former[0]})


@pytest.mark.slow
@pytest.mark.parametrize("mlp", [(), (0.01,)], ids=["linear", "hidden layer"])
def test_two_processes_find_what_one_finds(mlp: tuple[float, ...]) -> None:
    rows, validation = streamed(301), streamed(101, seed=1)
    alone = FitSettings(penalties=(0.05, 1.0), mlp_penalties=mlp, tolerance=1e-5, max_epochs=30, batch=50)
    both = FitSettings(
        penalties=(0.05, 1.0),
        mlp_penalties=mlp,
        tolerance=1e-5,
        max_epochs=30,
        batch=50,
        trainer=TrainerSettings(devices=2, strategy="ddp_spawn"),
    )
    one, two = fit_probe(rows, validation, alone), fit_probe(rows, validation, both)
    assert one.layer == two.layer and one.chosen.penalty == two.chosen.penalty
    for mine, theirs in zip(one.all_figures, two.all_figures, strict=True):
        assert mine.log_loss == pytest.approx(theirs.log_loss, abs=2e-3)
        assert mine.auroc == pytest.approx(theirs.auroc, abs=2e-3)
    x = np.stack([validation.x.read(0, 101, layer) for layer in range(3)], axis=1).astype(np.float32)
    np.testing.assert_allclose(*(fitted.logits(ArrayBlocks(x=x)) for fitted in (one, two)), atol=0.02)


def test_a_vector_that_is_not_finite_is_named() -> None:
    x, y, _ = states(50)
    x[17, 1, 3] = np.nan
    bad, good = StreamedRows(x=ArrayBlocks(x=x), y=y), streamed(30, seed=1)
    with pytest.raises(TrainingRefused, match="row 17 of the fit rows is not finite at layer 1"):
        fit_linear(bad, good, LINEAR)
    with pytest.raises(TrainingRefused, match="row 17 of the validation rows is not finite at layer 1"):
        fit_linear(good, bad, LINEAR)


def test_one_class_and_another_dimension_are_refused() -> None:
    x, y, _ = states(50)
    validation = streamed(30, seed=1)
    with pytest.raises(TrainingRefused, match="all right"):
        fit_linear(StreamedRows(x=ArrayBlocks(x=x), y=np.ones(50)), validation, LINEAR)
    with pytest.raises(TrainingRefused, match="use one tier's"):
        fit_linear(StreamedRows(x=ArrayBlocks(x=x[:, :, :5]), y=y), validation, LINEAR)
    with pytest.raises(TrainingRefused, match="one label per row"):
        StreamedRows(x=ArrayBlocks(x=x), y=y[:-1])


def test_constant_features_and_skewed_weights_leave_a_probe() -> None:
    x, y, _ = states(200)
    x[:, :, 4] = 3.0
    weight = np.where(np.arange(200) == 0, 1e4, 1.0)
    rows = StreamedRows(x=ArrayBlocks(x=x), y=y, weight=weight)
    fitted = fit_linear(rows, streamed(80, seed=1), LINEAR)
    assert np.isfinite(fitted.logits).all() and np.abs(fitted.weight[:, :, 4]).max() < 1e-12
    assert gradients(fitted, rows, LINEAR.penalties).max() < 1e-3
    constant = StreamedRows(x=ArrayBlocks(x=np.ones_like(x)), y=y)
    assert (fit_linear(constant, constant, LINEAR).weight == 0).all()


def test_equal_weights_are_no_weights() -> None:
    x, y, _ = states(100)
    validation = streamed(50, seed=1)
    plain = fit_linear(StreamedRows(x=ArrayBlocks(x=x), y=y), validation, LINEAR)
    equal = fit_linear(StreamedRows(x=ArrayBlocks(x=x), y=y, weight=np.full(100, 7.0)), validation, LINEAR)
    assert_same(plain, equal, atol=1e-5)


def test_files_and_shards_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(TrainingRefused, match="cannot be mapped"):
        StreamedRows(x=MappedBlocks(path=tmp_path / "cut.npy", layer_first=False), y=np.ones(1))
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "several.npz", np.ones(3))
    for name in ("empty.npy", "several.npz", "missing.npy"):
        with pytest.raises(TrainingRefused, match=f"{name} cannot be mapped"):
            StreamedRows(x=MappedBlocks(path=tmp_path / name, layer_first=False), y=np.ones(1))
    np.save(tmp_path / "flat.npy", np.ones((3, 4)))
    with pytest.raises(TrainingRefused, match="three axes"):
        StreamedRows(x=MappedBlocks(path=tmp_path / "flat.npy", layer_first=False), y=np.ones(3))
    five, six = (write_shard(tmp_path.as_uri(), np.ones((2, d)), ["a", "b"]) for d in (5, 6))
    readers = tuple(RowReader([shard.url] * 2, [0, 1]) for shard in (five, six))
    with pytest.raises(TrainingRefused, match=r"\[\(2, 5\), \(2, 6\)\]: give each layer the same rows"):
        ShardBlocks(readers=readers)
    with pytest.raises(TrainingRefused, match="give each layer the same rows"):
        ShardBlocks(readers=())


def test_rows_are_named_by_whole_numbers_that_are_there(tmp_path: Path) -> None:
    x, y, _ = states(5)
    np.save(tmp_path / "rows.npy", x)
    shard = write_shard(tmp_path.as_uri(), np.ones((5, 4)), [f"{row}" for row in range(5)])
    shards = ShardBlocks(readers=(RowReader([shard.url] * 5, list(range(5))),))
    for rows in (ArrayBlocks(x=x), MappedBlocks(path=tmp_path / "rows.npy", layer_first=False), shards):
        assert rows.take(np.array([4, 0])).shape[0] == 2 and rows.take(np.array([], dtype=np.int64)).shape[0] == 0
        with pytest.raises(TrainingRefused, match=r"of a mask, np\.flatnonzero"):
            rows.take(np.ones(5, dtype=bool))  # type: ignore[arg-type]
        for numbers in ([-1, 2], [0, 5]):
            with pytest.raises(TrainingRefused, match="give numbers from 0 to 4"):
                rows.take(np.array(numbers))
    with pytest.raises(TrainingRefused, match=r"layers has 3: .* holds layers 0 to 2"):
        StreamedRows(x=MappedBlocks(path=tmp_path / "rows.npy", layer_first=False, layers=(3, 0)), y=y)
    assert StreamedRows(x=ArrayBlocks(x=x), y=y.tolist()).y.dtype == np.float64
    with pytest.raises(TrainingRefused, match=r"y has the shape \(5, 1\)"):
        StreamedRows(x=ArrayBlocks(x=x), y=y[:, None])


@pytest.mark.parametrize(
    "change",
    [{"mlp_units": 0}, {"patience": -1}, {"seed": -1}, {"mlp_learning_rate": -1.0}, {"max_epochs": 2.5}, {"rank": 0}],
)
def test_settings_are_looked_at_by_name(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(TrainingRefused, match=f"{name} is {value}"):
        FitSettings(**change)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="penalties"):
        FitSettings(penalties=(0.0,))
    with pytest.raises(TrainingRefused, match="precision"):
        TrainerSettings(precision="8-bit")
    with pytest.raises(TrainingRefused, match="no trainer"):
        x, y, _ = states(20)
        rows = StreamedRows(x=ArrayBlocks(x=x.astype(np.float32)), y=y)
        fit_probe(rows, rows, FitSettings(trainer=TrainerSettings(strategy="none such")))
