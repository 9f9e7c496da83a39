"""Measure and print."""

from benchmarks.intervals.coverage import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("intervals", measure)
