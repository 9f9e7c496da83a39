"""Linear probes of many layers at five penalties: ours beside scikit-learn, on the same rows and
the same objective.

The rows are made layer by layer from a seed: correlated features of uneven scales and offsets, with
a spectrum that falls like k^-1.2 (recorded hidden states fall like k^-1.2 to k^-1.5), of which one
direction, differing by layer in strength, tells correctness. They lie in one float16 file [layers,
rows, d]; the last fifth of the rows validates.

- scikit-learn, for each layer: read it, standardise it in float32, `LogisticRegression(lbfgs,
  tol=1e-4)` for each of five C in a loop. `max_iter` is 1000, so that it reaches its tolerance;
  `ratio_vs_sklearn_100` is what the ratio would be had each of its runs been cut off at its default
  of 100 iterations, by its own time per iteration.
- ours, for each layer: `training.probes.fit.fit_linear` with λ = 1 / (C · fit rows), the same
  objective, streamed from the file, the same tolerance on the largest component of the gradient;
  reading, scales and validation figures included.

The two take turns layer by layer, two threads each, so that a busy machine is busy for both.
`ratio_vs_sklearn` is one sum of seconds over the other, `cpu_ratio_vs_sklearn` the same of
processor time; `together_seconds` is ours with all layers in one run, as a fit is really done.

`auroc_difference` is the largest over layers of |our best validation AUROC of the five −
scikit-learn's best of the five|; `auroc_difference_problem` the largest over all layers and C of
the difference at the same C, and `log_loss_difference` that of the validation log-loss in nats.
Peak memory is what one layer adds to a fresh process of each after its imports and a tiny run;
pages of the mapped file, which the system may drop at any time, count in `peak_mb_ours_mapped` and
not in `peak_mb_ours`.
"""

import multiprocessing
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.shape import Figures, run
from knowgate._records.arrays import FloatArray
from training.probes.fit import FittedLinear, auroc, fit_linear, log_loss
from training.probes.probe_settings import FitSettings
from training.rows.row_blocks import MappedBlocks, StreamedRows

INVERSE_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # scikit-learn's C; the best lies inside
TOLERANCE, THREADS, MOST_ITERATIONS, DEFAULT_ITERATIONS = 1e-4, 2, 1000, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    layers: int
    rows: int
    dimension: int

    @property
    def fit_rows(self) -> int:
        return self.rows * 4 // 5


FULL = Shape(layers=33, rows=20_000, dimension=4096)
QUICK = Shape(layers=2, rows=4_000, dimension=1024)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """One side's five probes of one layer."""

    aurocs: FloatArray  # [5]
    log_losses: FloatArray  # [5]
    iterations: FloatArray  # [5]
    seconds: FloatArray  # [5] of each fit alone; scikit-learn only


def measure(quick: bool) -> Figures:
    return compare(QUICK if quick else FULL)


def compare(shape: Shape) -> Figures:
    """All figures at one size."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "states.npy"
        y = write_rows(path, shape)
        ours(path, y, shape, (0,))  # warm: imports of the device's kernels, Lightning's first run
        mine, theirs, clock = [], [], []  # clock: seconds by the wall and of the processor, at each change of turns
        for layer in range(shape.layers):
            clock.append((time.perf_counter(), time.process_time()))
            mine.append(ours(path, y, shape, (layer,)))
            clock.append((time.perf_counter(), time.process_time()))
            theirs.append(sklearn(path, y, shape, layer))
        clock.append((time.perf_counter(), time.process_time()))
        began = time.perf_counter()
        ours(path, y, shape, tuple(range(shape.layers)))
        together = time.perf_counter() - began
        peaks = [fresh_peak(side, path, y, shape) for side in (_ours_of_first, _sklearn_of_first)]
    return _figures(shape, mine, theirs, np.diff(np.array(clock), axis=0)) | {
        "together_seconds": together,
        "peak_mb_ours": peaks[0][0],
        "peak_mb_ours_mapped": peaks[0][1],
        "peak_mb_sklearn": peaks[1][0],
    }


def _figures(
    shape: Shape, mine: list[Fitted], theirs: list[Fitted], turns: FloatArray
) -> dict[str, float | int | str | None]:
    """`turns` [2 · layers, 2]: wall and processor seconds, ours and theirs alternating."""
    (my_seconds, my_cpu), (their_seconds, their_cpu) = turns[::2].sum(0), turns[1::2].sum(0)
    best = [abs(one.aurocs.max() - other.aurocs.max()) for one, other in zip(mine, theirs, strict=True)]
    each = [np.abs(one.aurocs - other.aurocs).max() for one, other in zip(mine, theirs, strict=True)]
    losses = [np.abs(one.log_losses - other.log_losses).max() for one, other in zip(mine, theirs, strict=True)]
    saved = sum(
        float((one.seconds * (1.0 - np.minimum(1.0, DEFAULT_ITERATIONS / one.iterations))).sum()) for one in theirs
    )
    return {
        "ratio_vs_sklearn": float(their_seconds / my_seconds),
        "ratio_vs_sklearn_100": float((their_seconds - saved) / my_seconds),
        "cpu_ratio_vs_sklearn": float(their_cpu / my_cpu),
        "auroc_difference": float(max(best)),
        "auroc_difference_problem": float(max(each)),
        "log_loss_difference": float(max(losses)),
        "best_auroc_least": float(min(one.aurocs.max() for one in mine)),
        "best_auroc_most": float(max(one.aurocs.max() for one in mine)),
        "seconds_ours": float(my_seconds),
        "seconds_sklearn": float(their_seconds),
        "passes_ours": float(np.mean([one.iterations.max() for one in mine])),
        "iterations_sklearn": float(np.mean([one.iterations.sum() for one in theirs])),
        "layers": shape.layers,
        "rows": shape.rows,
        "dimension": shape.dimension,
        "threads": THREADS,
    }


def ours(path: Path, y: FloatArray, shape: Shape, layers: tuple[int, ...]) -> Fitted:
    """Our probes of these layers, the last one's figures."""
    rows = shape.fit_rows
    settings = FitSettings(
        penalties=tuple(1.0 / (inverse * rows) for inverse in INVERSE_PENALTIES),
        mlp_penalties=(),
        tolerance=TOLERANCE,
        max_epochs=MOST_ITERATIONS,
    )
    fitted: FittedLinear = fit_linear(
        StreamedRows(x=MappedBlocks(path=path, layer_first=True, end=rows, layers=layers), y=y[:rows]),
        StreamedRows(
            x=MappedBlocks(path=path, layer_first=True, first=rows, end=shape.rows, layers=layers), y=y[rows:]
        ),
        settings,
    )
    figures = fitted.figures[-len(INVERSE_PENALTIES) :]
    if not all(one.converged for one in figures):
        raise RuntimeError("a probe of ours did not converge, so the two cannot be compared")
    return Fitted(
        aurocs=np.array([one.auroc for one in figures]),
        log_losses=np.array([one.log_loss for one in figures]),
        iterations=np.full(len(figures), float(fitted.passes[-1])),
        seconds=np.full(len(figures), np.nan),
    )


def sklearn(path: Path, y: FloatArray, shape: Shape, layer: int) -> Fitted:
    """scikit-learn's probes of one layer."""
    from sklearn.linear_model import LogisticRegression

    rows = shape.fit_rows
    x = np.load(path, mmap_mode="r")[layer, : shape.rows].astype(np.float32)
    mean, scale = x[:rows].mean(0), x[:rows].std(0)
    x -= mean
    x /= scale
    ones = np.ones(shape.rows - rows)
    aurocs, losses, iterations, seconds = [], [], [], []
    with threadpool_limits(THREADS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between its versions
        for inverse in INVERSE_PENALTIES:
            began = time.perf_counter()
            model = LogisticRegression(C=inverse, solver="lbfgs", tol=TOLERANCE, max_iter=MOST_ITERATIONS)
            model.fit(x[:rows], y[:rows].astype(np.int64))
            seconds.append(time.perf_counter() - began)
            logits = model.decision_function(x[rows:]).astype(np.float64)
            aurocs.append(auroc(logits, y[rows:]) or 0.0)
            losses.append(log_loss(logits, y[rows:], ones))
            iterations.append(float(model.n_iter_[0]))
    return Fitted(
        aurocs=np.array(aurocs),
        log_losses=np.array(losses),
        iterations=np.array(iterations),
        seconds=np.array(seconds),
    )


def write_rows(path: Path, shape: Shape, seed: int = 0) -> FloatArray:
    """The file [layers, rows, d] float16, made layer by layer; returns correctness [rows]."""
    draw = np.random.default_rng(seed)
    known = draw.standard_normal(shape.rows, dtype=np.float32)
    y: FloatArray = (draw.random(shape.rows) < 1.0 / (1.0 + np.exp(-2.0 * known))).astype(np.float64)
    states = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float16, shape=(shape.layers, shape.rows, shape.dimension)
    )
    for layer in range(shape.layers):
        states[layer] = layer_states(known, layer, shape, np.random.default_rng([seed, layer + 1]))
    states.flush()
    return y


def layer_states(
    known: npt.NDArray[np.float32], layer: int, shape: Shape, draw: np.random.Generator
) -> npt.NDArray[np.float16]:
    """States [rows, d] of one layer: what is known shows most at three fifths of the depth."""
    d = shape.dimension
    spectrum = np.arange(1, d + 1) ** -1.2
    tells = np.zeros(d, dtype=np.float32)
    tells[3 : d // 10] = draw.standard_normal(d // 10 - 3)
    depth = (layer + 0.5) / shape.layers
    tells *= 1.2 * np.exp(-(((depth - 0.6) / 0.35) ** 2)) / np.linalg.norm(tells)
    latent = draw.standard_normal((shape.rows, d), dtype=np.float32) + np.outer(known, tells)
    latent *= (np.sqrt(spectrum * d / spectrum.sum()) * draw.choice([-1.0, 1.0], d)).astype(np.float32)
    states = dct(latent, axis=1, norm="ortho", overwrite_x=True)
    states *= draw.lognormal(-1.0, 0.5, d).astype(np.float32)
    states += draw.normal(0.0, 1.0, d).astype(np.float32)
    mixed: npt.NDArray[np.float16] = states.astype(np.float16)
    return mixed


def fresh_peak(
    side: Callable[[Path, FloatArray, Shape], object], path: Path, y: FloatArray, shape: Shape
) -> tuple[float, float]:
    """What one layer adds to a fresh process, in MB: memory of its own, and with mapped pages."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (side, path, y, shape))


def _peak(
    side: Callable[[Path, FloatArray, Shape], object], path: Path, y: FloatArray, shape: Shape
) -> tuple[float, float]:
    torch.set_num_threads(THREADS)
    import sklearn.linear_model  # noqa: F401  (imports are not what is measured)

    side(path, y[:200], Shape(layers=1, rows=200, dimension=shape.dimension))  # nor is what any first run allocates
    largest, done = [0.0, 0.0], threading.Event()

    def look() -> None:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        for at, name in enumerate(("RssAnon", "VmRSS")):
            largest[at] = max(largest[at], float(status.partition(f"{name}:")[2].split()[0]) / 1e3)

    def watch() -> None:
        while not done.wait(0.005):
            look()

    look()
    before = list(largest)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    side(path, y, shape)
    done.set()
    watcher.join()
    return largest[0] - before[0], largest[1] - before[1]


def _ours_of_first(path: Path, y: FloatArray, shape: Shape) -> object:
    return ours(path, y, shape, (0,))


def _sklearn_of_first(path: Path, y: FloatArray, shape: Shape) -> object:
    return sklearn(path, y, shape, 0)


if __name__ == "__main__":
    run("probe", measure)
