"""Measure and print."""

from benchmarks.certify.resamples import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("certify", measure)
