"""What the intervals of estimates cover: `python -m benchmarks.intervals`."""
