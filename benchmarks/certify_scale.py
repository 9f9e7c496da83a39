"""What `knowgate certify` costs on 10⁴, 10⁵ and 10⁶ outcomes, start of the interpreter and reading included.

Each run is a process of its own on a Parquet table of two tiers; seconds are medians, memory is the largest peak.
`*_cpu_seconds_*` are of the process and do not depend on who else uses the machine. `*_exponent` is the slope of
log CPU time over log rows between the largest two sizes: at most about 1.1 for n log n.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.shape import Figures, run

QUERIES = (5_000, 50_000, 500_000)  # two outcomes each
CERTIFIED = 0


def measure(quick: bool) -> Figures:
    sizes = QUERIES[:2] if quick else QUERIES
    figures: dict[str, float | int | str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        tables = {n: _table(Path(folder) / f"{n}.parquet", n) for n in sizes}
        for rule in ("p_t", "gates", "score"):
            cpu = []
            for n in sizes:
                taken = [_seconds(tables[n], rule) for _ in range(1 if quick else 3)]
                cpu.append(statistics.median(own for _, own in taken))
                figures[f"{rule}_seconds_{2 * n}"] = statistics.median(wall for wall, _ in taken)
                figures[f"{rule}_cpu_seconds_{2 * n}"] = cpu[-1]
            slope = np.log(cpu[-1] / cpu[-2]) / np.log(sizes[-1] / sizes[-2])
            figures[f"{rule}_exponent"] = float(slope)
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return figures


def _table(path: Path, n: int) -> Path:
    rng = np.random.default_rng(n)
    p_t = rng.beta(6, 1.5, n).round(6)
    p_ik = np.clip(p_t + 0.15 * rng.standard_normal(n), 0, 1)
    small = rng.random(n) < p_t
    last = np.where(rng.random(n) < 0.6, True, small)
    columns = {
        "query_id": np.char.add("query-", np.arange(n).astype(str)).tolist() * 2,
        "tier": np.repeat([0, 1], n),
        "model": np.repeat(["small", "large"], n),
        "p_t": np.concatenate([p_t, np.full(n, 0.99)]),
        "p_ik": pa.array(np.concatenate([p_ik, np.full(n, 0.0)]), mask=np.repeat([False, True], n)),
        "correct": np.concatenate([small, last]).astype(np.float64),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _seconds(table: Path, rule: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one certification."""
    command = [sys.executable, "-m", "services", "certify", str(table), "--rule", rule, "--json"]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=False
    )
    taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != CERTIFIED:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout} {done.stderr}")
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    run("certify_scale", measure)
