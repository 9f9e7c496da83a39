"""Measure and print."""

from benchmarks.shape import run
from benchmarks.weeks.schedules import measure

if __name__ == "__main__":
    run("weeks", measure)
