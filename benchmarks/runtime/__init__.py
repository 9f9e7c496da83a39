"""What a decision in a serving process takes: `python -m benchmarks.runtime`."""
