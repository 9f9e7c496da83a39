"""Measure and print."""

from benchmarks.shape import run
from benchmarks.tampering.trials import measure

if __name__ == "__main__":
    run("tampering", measure)
