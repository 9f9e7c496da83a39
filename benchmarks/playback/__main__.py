"""Measure and print."""

from benchmarks.playback.played import measure
from benchmarks.shape import run

if __name__ == "__main__":
    run("playback", measure)
