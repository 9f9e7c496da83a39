"""Measurements side by side: `python -m benchmarks.NAME [--quick] --json` prints one JSON object.

A benchmark of several files is a folder of its name.

Ratios of things run in turn within one process, medians of several rounds: absolute times of a
shared machine say little. Results worth keeping lie in `benchmarks/results/`.
"""
