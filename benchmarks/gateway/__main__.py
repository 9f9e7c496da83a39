"""Measure and print."""

from benchmarks.gateway.measure import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("gateway", measure)
