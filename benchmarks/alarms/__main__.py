"""Measure and print."""

from benchmarks.alarms.months import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("alarms", measure)
