"""What `knowgate certify` costs on 10⁴, 10⁵ and 10⁶ outcomes, start of the interpreter and reading
included.

Each run is a process of its own on a Parquet table of two tiers, and of three; seconds are medians,
memory is the largest peak. `*_cpu_seconds_*` are of the process and do not depend on who else uses
the machine. `*_exponent` is the slope of log CPU time over log rows between the largest two sizes,
and `*_net_exponent` the same without what the smallest table took, which is mostly the
interpreter's start: n log n would give `n_log_n_exponent`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.shape import Figures, run

OUTCOMES = (10_000, 100_000, 1_000_000)  # rows of the table, one per query and tier
CASES = (("p_t", 2), ("gates", 2), ("score", 2), ("p_t", 3), ("gates", 3))
CERTIFIED = 0
Flat = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measure(quick: bool) -> Figures:
    sizes = OUTCOMES[:2] if quick else OUTCOMES
    figures: Flat = {"n_log_n_exponent": 1.0 + float(np.log10(np.log(sizes[-1]) / np.log(sizes[-2])))}
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            (n, tiers): _table(Path(folder) / f"{n}_{tiers}.parquet", n, tiers) for n in sizes for tiers in (2, 3)
        }
        for kind, tiers in CASES:
            name = kind if tiers == 2 else f"{kind}_{tiers}_tiers"
            cpu, peaks = [], []
            for n in sizes:
                taken = [_cost(tables[n, tiers], kind) for _ in range(1 if quick else 3)]
                cpu.append(statistics.median(one.cpu_seconds for one in taken))
                peaks.append(max(one.peak_mib for one in taken))
                figures[f"{name}_seconds_{n}"] = statistics.median(one.seconds for one in taken)
                figures[f"{name}_cpu_seconds_{n}"] = cpu[-1]
                figures[f"{name}_peak_mib_{n}"] = peaks[-1]
            figures[f"{name}_exponent"] = float(np.log10(cpu[-1] / cpu[-2]))
            if len(sizes) > 2:
                figures[f"{name}_net_exponent"] = float(np.log10((cpu[-1] - cpu[0]) / max(cpu[-2] - cpu[0], 1e-3)))
    figures["seconds_max"] = max(_of(figures, f"_seconds_{sizes[-1]}", without="cpu"))
    figures["peak_mib"] = max(_of(figures, f"_peak_mib_{sizes[-1]}"))
    return figures


def _of(figures: Flat, ending: str, without: str = "\0") -> list[float]:
    return [
        value
        for key, value in figures.items()
        if key.endswith(ending) and without not in key and isinstance(value, float)
    ]


def _table(path: Path, outcomes: int, tiers: int) -> Path:
    n = outcomes // tiers
    rng = np.random.default_rng(n)
    p_t = rng.beta(6, 1.5, (n, tiers - 1)).round(6)
    p_ik = np.clip(p_t + 0.15 * rng.standard_normal(p_t.shape), 0, 1)
    small = rng.random(p_t.shape) < p_t
    last = np.where(rng.random(n) < 0.6, True, small[:, -1])
    none = np.repeat(np.arange(tiers) == tiers - 1, n)
    columns = {
        "query_id": np.char.add("query-", np.arange(n).astype(str)).tolist() * tiers,
        "tier": np.repeat(np.arange(tiers), n),
        "model": np.repeat([f"model-{tier}" for tier in range(tiers)], n),
        "p_t": np.concatenate([p_t.T.ravel(), np.full(n, 0.99)]),
        "p_ik": pa.array(np.concatenate([p_ik.T.ravel(), np.zeros(n)]), mask=none),
        "correct": np.concatenate([small.T.ravel(), last]).astype(np.float64),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _cost(table: Path, kind: str) -> Cost:
    """One certification."""
    command = [sys.executable, "-m", "services", "certify", str(table), "--rule", kind, "--json"]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "2"})
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        taken = time.perf_counter() - began
        if child.returncode != CERTIFIED:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}: {output.read().decode()}")
    return Cost(seconds=taken, cpu_seconds=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)


if __name__ == "__main__":
    run("certify_scale", measure)
