"""Measure and print."""

from benchmarks.runtime.timing import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("runtime", measure)
