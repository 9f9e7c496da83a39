"""Whether `audit verify` finds what was changed: `python -m benchmarks.tampering`."""
